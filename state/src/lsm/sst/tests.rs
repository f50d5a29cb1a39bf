//! Files against `BTreeMap`s, against damage, and against yesterday's bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rkyv::util::AlignedVec;
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::hash_bytes;
use crate::lsm::KeyRange;
use crate::lsm::Kind;

/// What a file should say.
type Model = BTreeMap<Vec<u8>, (Kind, Vec<u8>, ValueAlign)>;

fn small_blocks(codec: Codec) -> SstOptions {
    SstOptions { block_bytes: 4096, codec, ..SstOptions::default() }
}

/// The file, taken in pieces and built in small steps.
fn write(options: SstOptions, model: &Model, tombstones: &[KeyRange]) -> Vec<u8> {
    let mut writer = SstWriter::new(options);
    let (mut file, mut spare) = (Vec::new(), Vec::new());
    for (key, (kind, value, align)) in model {
        writer.add(key, *kind, value, *align).unwrap();
        if writer.ready_bytes() > 10_000 {
            spare = writer.take_ready(spare);
            file.extend_from_slice(&spare);
        }
    }
    tombstones.iter().cloned().for_each(|range| writer.add_tombstone(range));
    let mut tail = writer.finish();
    while tail.step(1).is_none() {
        spare = tail.take_ready(spare);
        file.extend_from_slice(&spare);
    }
    file.extend_from_slice(&tail.take_ready(spare));
    file
}

/// A look-up in stages, as a store does it, in place or by way of an image.
fn find<B: AsRef<[u8]>>(sst: &Sst<B>, key: &[u8]) -> Option<(Kind, Vec<u8>)> {
    let hash = hash_bytes(key);
    sst.filter_prefetch(hash);
    if !sst.may_contain(hash) {
        return None;
    }
    sst.index_prefetch(hash);
    let mut image = AlignedVec::new();
    sst.candidates(hash).find_map(|address| {
        let place = sst.place(address)?;
        sst.entry_prefetch(place);
        let found = match sst.block(place.block) {
            Some(_) => sst.entry_at(place, key),
            None => {
                sst.unpack_block(place.block, &mut image).ok()?;
                Block::parse(&image).ok()?.entry_at(place.offset, key)
            }
        };
        found.map(|(kind, value)| (kind, value.to_vec()))
    })
}

/// All entries from the cursor on. Blocks come in only when they were missed; the file's cursor is never the wiser.
fn entries<B: AsRef<[u8]>>(sst: &Sst<B>, mut cursor: SstCursor) -> Vec<(Vec<u8>, Kind, Vec<u8>)> {
    let (mut there, mut image, mut found) = (None, AlignedVec::<16>::new(), Vec::new());
    loop {
        let block = |number| (there == Some(number)).then(|| Block::parse(&image).ok()).flatten();
        match cursor.entry(block) {
            Step::Entry(entry) => {
                let mut key = Vec::new();
                entry.key_into(&mut key);
                found.push((key, entry.kind, entry.value.to_vec()));
                cursor.advance();
            }
            Step::Missing(number) => {
                if sst.unpack_block(number, &mut image).is_err() {
                    return found;
                }
                there = Some(number);
            }
            Step::End => return found,
        }
    }
}

/// The file says what the model does, in every way it can be asked.
fn check(options: SstOptions, model: &Model, others: &[Vec<u8>]) {
    let file = write(options, model, &[]);
    let sst = Sst::open(&file).unwrap();
    sst.verify_index().unwrap();
    sst.verify_all().unwrap();
    let meta = sst.meta();
    let count = |kind| model.values().filter(|value| value.0 == kind).count() as u64;
    assert_eq!((meta.entries, meta.deletes), (model.len() as u64, count(Kind::Delete)));
    assert_eq!(meta.merges, count(Kind::Merge));
    assert_eq!(model.keys().next_back().map_or(&[][..], |key| key), meta.last_key);

    let mut image = AlignedVec::new();
    for (key, (kind, value, _)) in model {
        assert_eq!(find(&sst, key), Some((*kind, value.clone())), "{key:x?}");
        assert_eq!(sst.get(key, &mut image).unwrap(), Some((*kind, value.as_slice())));
    }
    for key in others.iter().filter(|key| !model.contains_key(*key)) {
        assert_eq!(find(&sst, key), None, "{key:x?}");
    }
    let from = |key: &[u8]| {
        let range = model.range::<[u8], _>((std::ops::Bound::Included(key), std::ops::Bound::Unbounded));
        range.map(|(key, (kind, value, _))| (key.clone(), *kind, value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(entries(&sst, sst.first()), from(&[]));
    for key in others.iter().chain(model.keys().step_by(1 + model.len() / 10)) {
        assert_eq!(entries(&sst, sst.seek(key)), from(key), "{key:x?}");
    }
    check_alignment(&sst, model);
}

/// Values are where they were said to be: relative to the file, or to the image of a compressed block.
fn check_alignment(sst: &Sst<&Vec<u8>>, model: &Model) {
    let mut image = AlignedVec::new();
    for number in 0..sst.blocks() {
        sst.verify_block(number).unwrap();
        sst.unpack_block(number, &mut image).unwrap();
        let block = Block::parse(&image).unwrap();
        for entry in (0..block.len()).map(|index| block.entry(index).unwrap()) {
            let key = [entry.prefix, entry.suffix].concat();
            let at = entry.value.as_ptr() as usize - image.as_ptr() as usize;
            assert_eq!(at % model[&key].2.bytes(), 0);
        }
        assert!(sst.block_range(number).unwrap().start.is_multiple_of(16));
    }
}

fn puts(keys: impl IntoIterator<Item = u64>, value: &[u8]) -> Model {
    let put = |key: u64| (key.to_be_bytes().to_vec(), (Kind::Put, value.to_vec(), ValueAlign::Eight));
    keys.into_iter().map(put).collect()
}

/// The size of the only block of a file, without padding, and its form.
#[track_caller]
fn check_block(model: &Model, bytes: u32, fixed: bool) {
    check(SstOptions::default(), model, &[]);
    let file = write(SstOptions::default(), model, &[]);
    assert_eq!(Sst::open(&file).unwrap().blocks(), 1);
    assert_eq!(u32::from_le_bytes(field(&file, 12).unwrap()), bytes);
    assert_eq!(file[29] & 1 == 1, fixed);
}

#[test]
fn blocks_are_as_small_as_they_can_be() {
    // A header of 32, no prefix as the suffix has room for all of the key, and 8 + 8 for each entry.
    check_block(&puts(0..100, &[7; 8]), 32 + 100 * 16, true);
    // The prefix is the whole key of a single entry.
    check_block(&puts(7..8, &[]), 40, true);
    check_block(&puts(7..8, &[1; 3]), 40 + 8, true);
    // No values: a set.
    check_block(&puts(0..100, &[]), 32 + 100 * 8, true);

    // A value at a multiple of 16 needs 16 bytes before it.
    let mut model = puts(0..100, &[7; 24]);
    model.values_mut().for_each(|value| value.2 = ValueAlign::Sixteen);
    check_block(&model, 32 + 100 * (16 + 32), true);

    // What keys of 12 bytes share goes into the prefix as far as that makes entries smaller: 4 bytes here. Entries
    // of 16 bytes are at multiples of it.
    let model: Model =
        puts(0..100, &[7; 8]).into_iter().map(|(key, v)| ([&[1; 4], &key[..]].concat(), v)).collect();
    check_block(&model, 48 + 100 * 16, true);

    // One entry of another kind: each gets a header of 8 bytes, which has room for the suffix too, and an offset.
    let mut model = puts(0..100, &[7; 8]);
    *model.values_mut().nth(50).unwrap() = (Kind::Delete, vec![], ValueAlign::Eight);
    check_block(&model, 40 + 100 * (16 + 8 + 2) - 8, false);
}

#[test]
fn a_file_without_entries_is_a_file() {
    check(SstOptions::default(), &Model::new(), &[vec![0; 4], vec![]]);
    let range = KeyRange::new(&[0, 1], &[0xff]);
    let file = write(SstOptions::default(), &Model::new(), std::slice::from_ref(&range));
    let sst = Sst::open(&file).unwrap();
    assert_eq!((&sst.meta().tombstones, sst.meta().key_groups()), (&vec![range], None));
    assert_eq!(sst.unpack_block(0, &mut AlignedVec::new()), Err(SstError::NoBlock { block: 0 }));
}

#[test]
fn many_entries_and_long_ones() {
    let scattered = |i: u64| crate::hash_word(i);
    for codec in [Codec::None, Codec::Lz4] {
        let options = SstOptions { codec, ..SstOptions::default() };
        let others: Vec<Vec<u8>> = (0..20).map(|i| scattered(i + 1_000_000).to_be_bytes().to_vec()).collect();
        check(options.clone(), &puts((0..20_000).map(scattered), &[1; 8]), &others);
        // Longer than a block; the first, a middle one and the last.
        let mut model = puts((0..300).map(scattered), &[2; 100]);
        for (i, bytes) in [(0, 16 << 10), (1, 100_000), (150, 3 << 20), (299, 70_000)] {
            model.values_mut().nth(i).unwrap().1 = (0..bytes).map(|i: u32| (i ^ i >> 8) as u8).collect();
        }
        check(options, &model, &others);
    }
}

#[test]
fn what_cannot_be_stored_is_refused_and_leaves_no_trace() {
    let mut writer = SstWriter::new(SstOptions::default());
    let mut add = |key: &[u8]| writer.add(key, Kind::Put, &[0; 1000], ValueAlign::Eight);
    assert!(matches!(add(b"abc"), Err(WriteError::Key(_))));
    assert!(matches!(add(&[0; 65_536]), Err(WriteError::Key(_))));
    add(&[0; 65_535]).unwrap();
    assert_eq!(add(&[0; 65_535]), Err(WriteError::Order));
    assert_eq!(add(&[0; 65_534]), Err(WriteError::Order));
    for i in 1..40_u32 {
        add(&i.to_be_bytes()).unwrap();
        assert_eq!(add(&i.to_be_bytes()), Err(WriteError::Order), "also across blocks");
    }
    let (meta, file) = writer.finish().run();
    assert_eq!(meta.entries, 40);
    Sst::open(file).unwrap().verify_all().unwrap();
}

/// A writer says that it is full, and refuses only what the index could not address. No address goes wrong before.
#[test]
fn a_full_file_is_readable_to_its_last_entry() {
    let mut writer = SstWriter::new(SstOptions { filter_bits_per_key: 0, ..SstOptions::default() });
    let value = vec![3; 5_000];
    let (mut full_at, mut count) = (0, 0_u32);
    while writer.add(&count.to_be_bytes(), Kind::Put, &value, ValueAlign::Eight).is_ok() {
        full_at += u32::from(!writer.is_full());
        count += 1;
    }
    assert!((5_900..6_000).contains(&full_at) && count > full_at && count < 6_144, "{full_at} {count}");
    let sst = Sst::open(writer.finish().run().1).unwrap();
    assert_eq!(sst.meta().entries, u64::from(count));
    sst.verify_all().unwrap();
    for key in (0..count).step_by(50).chain([count - 1]) {
        assert_eq!(find(&sst, &key.to_be_bytes()), Some((Kind::Put, value.clone())));
    }
}

/// Files of a few blocks, of both forms.
fn sample(codec: Codec) -> Vec<u8> {
    let mut model = puts(0..300, &[9; 8]);
    for i in 0..60_u64 {
        let kind = [Kind::Put, Kind::Delete, Kind::Merge][i as usize % 3];
        let value = if kind == Kind::Delete { vec![] } else { vec![i as u8; i as usize * 3] };
        let align = if i % 2 == 0 { ValueAlign::Eight } else { ValueAlign::Sixteen };
        model.insert(format!("\x01key {i:03}").into_bytes(), (kind, value, align));
    }
    let states = vec![StateMeta {
        id: 0,
        name: "counts \"per\" key".into(),
        schema: u64::MAX,
        align: ValueAlign::Eight,
    }];
    let options = SstOptions { states, purpose: Purpose::Compaction, ..small_blocks(codec) };
    write(options, &model, &[KeyRange::new(b"a", b"b")])
}

#[test]
fn every_damaged_byte_is_found() {
    for codec in [Codec::None, Codec::Lz4] {
        let mut file = sample(codec);
        let blocks = Sst::open(&file).unwrap().blocks();
        assert!(blocks >= 3 && file.len() < 64 << 10, "{blocks} blocks, {} bytes", file.len());
        Sst::open(&file).unwrap().verify_all().unwrap();
        for at in 0..file.len() {
            for bits in [1 << (at % 8), 0xff] {
                file[at] ^= bits;
                let found = Sst::open(&file).and_then(|sst| sst.verify_all());
                assert!(found.is_err(), "{codec:?}: byte {at} of {} turned by {bits:#x}", file.len());
                file[at] ^= bits;
            }
        }
    }
}

/// `at` is where a byte is turned over.
#[track_caller]
fn check_named(file: &mut [u8], at: usize, expected: &str) {
    file[at] ^= 0x10;
    let error = Sst::open(&file[..]).and_then(|sst| sst.verify_all()).unwrap_err();
    assert_eq!(error.to_string(), expected);
    file[at] ^= 0x10;
}

#[test]
fn damage_is_named() {
    let mut file = sample(Codec::None);
    let sst = Sst::open(&file).unwrap();
    let ranges = [Section::Index, Section::Filter, Section::Table, Section::Metadata, Section::Footer]
        .map(|section| (section, sst.section_range(section)));
    let block = sst.block_range(1).unwrap();
    assert_eq!(block.start, 4096);
    check_named(&mut file, 4096, "block 1 is damaged at byte 4096");
    check_named(&mut file, block.end - 1, "block 1 is damaged at byte 4096"); // Its padding.
    for (section, range) in ranges {
        let start = range.start;
        check_named(&mut file, start + 1, &format!("the {section} is damaged at byte {start}"));
        if section != Section::Footer {
            let end = range.end; // Padding, which should be zero.
            check_named(&mut file, end, &format!("the {section} is damaged at byte {end}"));
        }
    }
    let end = file.len();
    check_named(&mut file, end - 1, "this is not an SST, or it was cut off");
    file[end - 16] = 2;
    assert_eq!(Sst::open(&file).unwrap_err(), SstError::Version { found: 2 });
}

#[test]
fn a_file_cut_off_or_gone_on_with_is_refused() {
    for codec in [Codec::None, Codec::Lz4] {
        let mut file = sample(codec);
        for bytes in 0..file.len() {
            assert!(Sst::open(&file[..bytes]).is_err(), "{bytes} of {} bytes", file.len());
        }
        let footer = file[file.len() - 4096..].to_vec();
        file.extend_from_slice(&footer);
        assert!(Sst::open(&file).is_err(), "a second footer");
    }
}

/// Yesterday's bytes are read by today's code, and today's are the same as far as they are ours: what LZ4 makes of bytes
/// may change with its version.
#[test]
fn golden_files_are_read() {
    let golden: [(Codec, &[u8]); 2] =
        [(Codec::None, include_bytes!("golden/v1.sst")), (Codec::Lz4, include_bytes!("golden/v1-lz4.sst"))];
    for (codec, bytes) in golden {
        let (golden, today) = (Sst::open(bytes).unwrap(), sample(codec));
        golden.verify_all().unwrap();
        let today = Sst::open(&today).unwrap();
        assert_eq!(entries(&golden, golden.first()), entries(&today, today.first()));
        for (key, kind, value) in entries(&golden, golden.first()) {
            assert_eq!(find(&golden, &key), Some((kind, value)));
        }
        assert_eq!(golden.meta().states, today.meta().states);
        if codec == Codec::None {
            assert!(golden.bytes() == today.bytes(), "the writer writes other bytes: a new format version?");
        }
    }
}

#[test]
#[ignore = "writes the golden files: only for a new version of the format"]
fn write_golden_files() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lsm/sst/golden");
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(format!("{folder}/v1.sst"), sample(Codec::None)).unwrap();
    std::fs::write(format!("{folder}/v1-lz4.sst"), sample(Codec::Lz4)).unwrap();
}

/// Makes all checksums right again, as far as the sections are where a file can have them: so that damage gets past them.
fn seal(file: &mut [u8]) {
    let sum = |bytes: &[u8]| xxh3_64(bytes).to_le_bytes();
    let Some(footer_at) = file.len().checked_sub(FOOTER_BYTES) else { return };
    let u64_at = |file: &[u8], at: usize| u64::from_le_bytes(field(file, at).unwrap()) as usize;
    let range = |file: &[u8], at: usize| {
        let start = u64_at(file, at).min(file.len());
        start..start.saturating_add(u64_at(file, at + 8)).min(footer_at).max(start)
    };
    let table = range(file, footer_at + 8 + 2 * 24);
    for record in file[table].to_vec().get(32..).unwrap_or_default().as_chunks::<32>().0.iter().take(16) {
        let start = u64_at(record, 8).min(file.len());
        let bytes = u32::from_le_bytes(field(record, 4).unwrap()) as usize;
        let block = start..start.saturating_add(bytes).min(file.len());
        if block.len() > 32 {
            let checksum = sum(&file[block.start + 8..block.end]);
            file[block.start..block.start + 8].copy_from_slice(&checksum);
        }
    }
    for at in (footer_at + 8..footer_at + 8 + 4 * 24).step_by(24) {
        let checksum = sum(&file[range(file, at)]);
        file[at + 16..at + 24].copy_from_slice(&checksum);
    }
    let checksum = sum(&file[footer_at + 8..]);
    file[footer_at..footer_at + 8].copy_from_slice(&checksum);
}

/// Asks everything that can be asked; the answers do not matter.
fn exercise(bytes: &[u8]) {
    for damage in SstDamage::of_file(bytes) {
        assert!(
            damage.bytes.start <= damage.bytes.end && damage.bytes.end <= bytes.len() as u64,
            "{damage:?}"
        );
    }
    let Ok(sst) = Sst::open(bytes) else { return };
    let _ = (sst.verify_index(), sst.verify_all());
    let mut image = AlignedVec::new();
    let keys = [vec![], vec![0; 4], 7_u64.to_be_bytes().to_vec(), b"\x01key 007".to_vec(), vec![0xff; 20]];
    for key in &keys {
        let _ = (find(&sst, key), sst.get(key, &mut image).is_ok(), entries(&sst, sst.seek(key)));
    }
    for address in (0..64 << 10).step_by(8).chain([u32::MAX]) {
        let Some(place) = sst.place(address) else { continue };
        let _ = sst.entry_at(place, &keys[2]);
        let Some(block) = sst.block(place.block) else { continue };
        let _ = block.entry_at(place.offset, &keys[2]);
        let _ = (block.entry_at(u32::MAX, &keys[2]), block.seek(&keys[3]), block.entry(block.len()));
    }
}

#[test]
fn a_sealed_file_is_the_file() {
    let mut file = sample(Codec::None);
    let before = file.clone();
    seal(&mut file);
    assert!(file == before, "or the next test tests nothing");
}

fn arb_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0..4_u8, any::<u8>()).prop_map(|(group, key)| vec![0, group, 0, 1, 0, 0, 0, key]),
        3 => prop::collection::vec(0..3_u8, 4..9),
        2 => prop::collection::vec(any::<u8>(), 4..40),
        1 => (prop::collection::vec(any::<u8>(), 1..3), 60..600_usize).prop_map(|(unit, times)| unit.repeat(times)),
    ]
}

fn arb_entry(mixed: bool) -> BoxedStrategy<(Kind, Vec<u8>, ValueAlign)> {
    if !mixed {
        return any::<[u8; 8]>().prop_map(|value| (Kind::Put, value.to_vec(), ValueAlign::Eight)).boxed();
    }
    let value = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..40),
        2 => prop::collection::vec(any::<u8>(), 200..900),
        1 => (any::<u8>(), 3_000..20_000_usize).prop_map(|(byte, times)| vec![byte; times]),
    ];
    let kind = prop_oneof![4 => Just(Kind::Put), 1 => Just(Kind::Delete), 1 => Just(Kind::Merge)];
    let align = prop_oneof![Just(ValueAlign::Eight), Just(ValueAlign::Sixteen)];
    (kind, value, align).boxed()
}

fn arb_model() -> impl Strategy<Value = Model> {
    // Runs of entries that fit a fixed block, and of others.
    let run =
        any::<bool>().prop_flat_map(|mixed| prop::collection::btree_map(arb_key(), arb_entry(mixed), 0..200));
    prop::collection::vec(run, 0..3).prop_map(|runs| runs.into_iter().flatten().collect())
}

proptest! {
    #![proptest_config(crate::cases(120))]

    #[test]
    fn files_say_what_a_map_says(
        model in arb_model(),
        others in prop::collection::vec(arb_key(), 0..20),
        lz4 in any::<bool>(),
        block_bytes in 4096..20_000_u32,
        filter_bits_per_key in prop_oneof![Just(0), Just(12), Just(70)],
    ) {
        let codec = if lz4 { Codec::Lz4 } else { Codec::None };
        let options = SstOptions { codec, block_bytes, filter_bits_per_key, ..SstOptions::default() };
        check(options, &model, &others);
    }
}

proptest! {
    #![proptest_config(crate::cases(400))]

    /// Hostile bytes: damage in one to four places behind right checksums, in sections and in footers.
    #[test]
    fn hostile_files_do_no_harm(
        lz4 in any::<bool>(),
        damage in prop::collection::vec((0..8_usize, any::<u32>(), any::<u8>(), 1..9_usize), 1..5),
    ) {
        let mut file = sample(if lz4 { Codec::Lz4 } else { Codec::None });
        let sst = Sst::open(&file).unwrap();
        let ranges = [Section::Blocks, Section::Blocks, Section::Index, Section::Filter, Section::Table,
            Section::Table, Section::Metadata, Section::Footer].map(|section| sst.section_range(section));
        for (section, at, byte, bytes) in damage {
            let range = ranges[section].clone();
            // Blocks are hurt where their headers are, half of the time.
            let at = if section == 0 { at % 2 * 4096 + at / 2 % 40 } else { at };
            let start = range.start + at as usize % range.len();
            let end = (start + bytes).min(range.end);
            file[start..end].fill(byte);
        }
        seal(&mut file);
        exercise(&file);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        exercise(&bytes);
        let _ = Block::parse(&bytes).map(|block| (block.seek(&bytes), block.entry(0), block.entry_at(40, b"key")));
        let mut image = AlignedVec::new();
        let mut sealed = [xxh3_64(&bytes).to_le_bytes().to_vec(), bytes].concat();
        let _ = block::check_stored(&sealed, block::Shape::default(), &mut image);
        sealed.resize(sealed.len().next_multiple_of(4096) + 4096, 0);
        if let Some(magic) = sealed.last_chunk_mut::<8>() {
            *magic = *b"thalwSST";
        }
        seal(&mut sealed);
        exercise(&sealed);
    }
}
