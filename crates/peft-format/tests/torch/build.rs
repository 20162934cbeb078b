//! Builds PyTorch files byte by byte, so that they can lie.

const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// A text in a pickle.
pub fn text(text: &str) -> Vec<u8> {
    [
        b"X",
        &(text.len() as u32).to_le_bytes()[..],
        text.as_bytes(),
    ]
    .concat()
}

pub fn int(value: i64) -> Vec<u8> {
    [b"\x8a\x08", &value.to_le_bytes()[..]].concat()
}

pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

/// A storage of floats by its persistent id.
pub fn storage(key: &str, elements: i64, view: &[u8]) -> Vec<u8> {
    let id = [
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text(key),
        text("cpu"),
        int(elements),
        view.to_vec(),
    ];
    [&tuple(&id)[..], b"Q"].concat()
}

/// A tensor on a storage.
pub fn tensor(storage: &[u8], offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let sizes = |sizes: &[i64]| tuple(&sizes.iter().map(|s| int(*s)).collect::<Vec<_>>());
    let arguments = [
        storage.to_vec(),
        int(offset),
        sizes(shape),
        sizes(strides),
        b"\x89ccollections\nOrderedDict\n)R".to_vec(),
    ];
    let arguments = tuple(&arguments);
    [
        &b"ctorch._utils\n_rebuild_tensor_v2\n"[..],
        &arguments,
        b"R",
    ]
    .concat()
}

/// A dictionary of entries, each of them a key and a value.
pub fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<Vec<u8>> = entries
        .iter()
        .map(|(key, value)| [text(key), value.clone()].concat())
        .collect();
    [b"}(", &entries.concat()[..], b"u"].concat()
}

pub fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

/// A legacy file of a state dict's opcodes and storages: key, elements that it claims, bytes.
pub fn legacy(value: &[u8], storages: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let facts = [&text("little_endian")[..], b"\x88s"].concat();
    let keys: Vec<u8> = storages
        .iter()
        .flat_map(|(key, ..)| [&text(key)[..], b"a"].concat())
        .collect();
    let mut file = MAGIC.to_vec();
    file.extend(pickle(&int(1001)));
    file.extend(pickle(&[b"}", &facts[..]].concat()));
    file.extend(pickle(value));
    file.extend(pickle(&[b"]", &keys[..]].concat()));
    for (_, elements, bytes) in storages {
        file.extend(elements.to_le_bytes());
        file.extend(*bytes);
    }
    file
}

/// A file of one tensor `t` on one storage of eight floats.
pub fn one(offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let value = tensor(&storage("k", 8, b""), offset, shape, strides);
    legacy(&dict(&[("t", value)]), &[("k", 8, &[1; 32])])
}

/// An archive of uncompressed entries.
pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    archive_with(entries, false)
}

/// An archive whose directory gives its numbers in 32 bits or, as in large ones, in 64.
pub fn archive_with(entries: &[(&str, &[u8])], wide: bool) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let (length, start) = (bytes.len() as u64, file.len() as u64);
        let number = |n: u64| (n as u32).to_le_bytes();
        let (sizes, place) = match wide {
            true => ([number(u64::MAX); 2], number(u64::MAX)),
            false => ([number(length); 2], number(start)),
        };
        let wide_field = [length, length, start].map(u64::to_le_bytes).concat();
        // A field that means nothing here comes first, as some programs have it.
        let extra = match wide {
            true => [b"UT\x02\0xx\x01\0\x18\0", &wide_field[..]].concat(),
            false => Vec::new(),
        };
        let lengths = [name.len() as u16, extra.len() as u16].map(u16::to_le_bytes);
        file.extend(b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        file.extend([number(length); 2].concat());
        file.extend([&lengths[0], b"\0\0".as_slice(), name.as_bytes(), bytes].concat());
        directory.extend(b"PK\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        directory.extend([&sizes.concat()[..], &lengths.concat(), &[0; 10], &place].concat());
        directory.extend([name.as_bytes(), &extra].concat());
    }
    let count = [(entries.len() as u16).to_le_bytes(); 2].concat();
    let place = [directory.len() as u32, file.len() as u32].map(u32::to_le_bytes);
    file.extend(directory);
    file.extend([b"PK\x05\x06\0\0\0\0", &count[..], &place.concat(), b"\0\0"].concat());
    file
}
