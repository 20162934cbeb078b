import json,dataclasses,enum,os,sys
sys.path.insert(0,os.path.join(os.path.dirname(os.path.abspath(__file__)),"../../../xtask/python"))
import versions
versions.check()
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING as M
out={}
def conv(v):
    if isinstance(v,enum.Enum): return v.value
    if isinstance(v,(set,tuple)): return sorted(v) if isinstance(v,set) else list(v)
    if dataclasses.is_dataclass(v): return {k:conv(x) for k,x in dataclasses.asdict(v).items()}
    return v
for t,c in M.items():
    d={}
    for f in dataclasses.fields(c):
        if f.default is not dataclasses.MISSING: v=conv(f.default)
        elif f.default_factory is not dataclasses.MISSING: v=conv(f.default_factory())
        else: continue
        if v is None or v is False or v=={} or v==[]: continue
        if f.name in("peft_type","task_type"): continue
        d[f.name]=v
    out[str(t.value)]=d
json.dump(out,open("/tmp/peft_defaults.json","w"),indent=1,sort_keys=True)
