//! An SST of any bytes: opened, verified, searched and read in order.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rkyv::util::AlignedVec;
use thalweg_state::lsm::sst::{Sst, SstDamage, Step};
use thalweg_state_fuzz::seal_sst;

fuzz_target!(|data: &[u8]| {
    let mut file = AlignedVec::<16>::new();
    file.extend_from_slice(data);
    read(&file);
    seal_sst(&mut file);
    read(&file);
});

fn read(file: &[u8]) {
    for damage in SstDamage::of_file(file) {
        assert!(
            damage.bytes.start <= damage.bytes.end && damage.bytes.end <= file.len() as u64,
            "{damage:?}"
        );
    }
    let Ok(sst) = Sst::open(file) else { return };
    let _ = sst.verify_index();
    let is_whole = sst.verify_all().is_ok();
    let (mut image, mut keys, mut cursor) = (AlignedVec::new(), Vec::new(), sst.first());
    while let Step::Entry(entry) = cursor.entry(|block| sst.block(block)) {
        keys.push([entry.prefix, entry.suffix].concat());
        cursor.advance();
    }
    for key in keys.iter().take(64) {
        let found = sst.get(key, &mut image).map(|found| found.is_some());
        assert!(!is_whole || found.is_ok(), "{found:?}");
        let _ = sst.seek(key);
    }
}
