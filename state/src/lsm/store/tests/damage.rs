//! Files that are not as they were written.

use super::*;
use crate::lsm::sst::{Section, Sst, SstError};

#[derive(Debug, Clone, Copy)]
enum Part {
    Block(u32),
    Section(Section),
}

/// Which part of a file a byte belongs to, and where that begins. None: between two sections.
fn part_of(sst: &Sst<Vec<u8>>, at: usize) -> Option<(Part, u64)> {
    let blocks = (0..sst.blocks()).map(|block| (Part::Block(block), sst.block_range(block).unwrap()));
    let sections = [Section::Index, Section::Filter, Section::Table, Section::Metadata, Section::Footer];
    let sections = sections.into_iter().map(|section| (Part::Section(section), sst.section_range(section)));
    let (part, range) = blocks.chain(sections).find(|(_, range)| range.contains(&at))?;
    Some((part, range.start as u64))
}

#[test]
fn damage_is_named_and_never_served() {
    for compressed_from_level in [0, usize::MAX] {
        damage_is_named(&Options { compressed_from_level, ..small() });
    }
}

fn damage_is_named(options: &Options) {
    let storage = Storage::memory();
    let mut store = open(&storage, options.clone());
    let entries: BTreeMap<_, _> =
        (0..500_u32).map(|user| (key(0, PLAIN, user), (Kind::Put, vec![user as u8; 50]))).collect();
    flush(&mut store, (entries, vec![])).unwrap();
    let name = store.version().files().next().unwrap().number.name();
    drop(store);
    let bytes = storage.open(&name).unwrap().to_vec();
    let sst = Sst::open(bytes.clone()).unwrap();
    assert!(sst.blocks() > 2);
    let mut named = BTreeSet::new();
    for at in (0..bytes.len()).step_by(101) {
        let disk = Storage::memory();
        for file in storage.list().unwrap().into_iter().filter(|file| file.name != name) {
            storage.link_or_copy(&file.name, &disk).unwrap();
        }
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let mut writer = disk.create(&name).unwrap();
        writer.write(&damaged).unwrap();
        writer.publish().unwrap();
        let found = try_open(&disk, options.clone()).and_then(|mut store| {
            while let Some(request) = store.poll_request() {
                store.on_part_ready(request.perform())?; // Index and filter, which nothing has to wait for.
            }
            let mut keys = KeyBatch::default();
            for user in 0..500 {
                keys.push(&key(0, PLAIN, user)).unwrap();
            }
            store.get_waiting(&keys, |user, answer| assert_eq!(answer.value(), Some(&[user as u8; 50][..])))
        });
        let (part, found) = match (part_of(&sst, at), found) {
            (None, Ok(())) => continue, // Padding, where nothing is read.
            (Some(part), Err(Error::Damaged { path, source })) => {
                assert!(path.ends_with(&name), "byte {at}: {path:?}");
                (part, source)
            }
            (part, found) => panic!("byte {at} of {part:?}: {found:?}"),
        };
        match (part, found) {
            ((Part::Block(number), start), SstError::Block { block, offset, .. }) => {
                assert_eq!((block, offset), (number, start), "byte {at}");
            }
            (
                (Part::Section(Section::Footer), start),
                SstError::Section { section: Section::Footer, offset },
            ) => {
                assert!(offset >= start, "byte {at}");
            }
            ((Part::Section(Section::Footer), start), SstError::Foreign | SstError::Version { .. }) => {
                assert!(at as u64 >= start + 112, "byte {at}: only the last fields say what the file is");
            }
            ((Part::Section(wanted), start), SstError::Section { section, offset }) => {
                assert_eq!((section, offset), (wanted, start), "byte {at}");
            }
            (part, found) => panic!("byte {at} of {part:?}: {found:?}"),
        }
        named.insert(format!("{:?}", part.0));
    }
    assert!(named.len() > 5, "of all parts some bytes were damaged: {named:?}");
}
