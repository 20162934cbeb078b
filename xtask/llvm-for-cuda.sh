#!/bin/sh
# Lets Burn's `cuda` feature build where the LLVM bundle that its build script downloads is out of reach:
# installs Debian's LLVM 22 and lays it out where the bundler looks. Run once per machine, as root.
set -eu
apt-get update -qq
apt-get install -y -qq --no-install-recommends llvm-22-dev libpolly-22-dev libzstd-dev zlib1g-dev libz3-dev libxml2-dev >/dev/null
llvm=/usr/lib/llvm-22
bundle="${XDG_DATA_HOME:-$HOME/.local/share}/tracel/tracel-llvm-23.1.0-4"   # the version burn 0.22.1 pins
mkdir -p "$bundle/bin"
ln -sfn "$llvm/lib" "$bundle/lib"
ln -sfn "$llvm/include" "$bundle/include"
for tool in "$llvm"/bin/*; do ln -sf "$tool" "$bundle/bin/"; done
rm -f "$bundle/bin/llvm-config"
cat > "$bundle/bin/llvm-config" <<EOF
#!/bin/sh
# Debian prints z3 as a path; the bundler expects -l names.
case "\$*" in
  *--system-libs*) $llvm/bin/llvm-config "\$@" | sed -E 's#(^| )[^ ]*/libz3\.(so|a)#\1-lz3#g' ;;
  *) exec $llvm/bin/llvm-config "\$@" ;;
esac
EOF
chmod +x "$bundle/bin/llvm-config"
touch "$bundle/.tracel-llvm-installed"
echo "LLVM $("$bundle/bin/llvm-config" --version) laid out in $bundle"
