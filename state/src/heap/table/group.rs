//! Sixteen tags at a time: which of them are a given one, and which are of occupied slots.

/// How many tags are compared at once.
pub(super) const WIDTH: usize = 16;

/// The tag of a vacant slot. Those of occupied ones have their high bit set.
pub(super) const VACANT: u8 = 0;

/// The tag of an entry: seven bits of its hash, below those that choose its home in any table that fits a memory, and
/// above those that are 0 in the positions of a key group.
#[inline(always)]
pub(super) fn tag_of(hash: u64) -> u8 {
    (hash >> 24) as u8 | 0x80
}

/// Copies of sixteen tags that are next to each other. Answers are bit sets: bit i is for the i-th tag.
#[derive(Clone, Copy)]
pub(super) struct Group(Lanes);

#[cfg(all(target_arch = "x86_64", not(miri)))]
type Lanes = core::arch::x86_64::__m128i;

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
type Lanes = [u8; WIDTH];

#[cfg(all(target_arch = "x86_64", not(miri)))]
impl Group {
    #[inline(always)]
    pub(super) fn of(tags: &[u8; WIDTH]) -> Self {
        // SAFETY: an unaligned load of sixteen bytes, which are borrowed; every x86-64 has SSE2.
        Self(unsafe { core::arch::x86_64::_mm_loadu_si128(tags.as_ptr().cast()) })
    }

    /// Those that are `tag`.
    #[inline(always)]
    pub(super) fn matching(self, tag: u8) -> u32 {
        use core::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set1_epi8};
        // SAFETY: arithmetic in registers; every x86-64 has SSE2.
        #[allow(unused_unsafe, reason = "newer compilers know that")]
        unsafe {
            _mm_movemask_epi8(_mm_cmpeq_epi8(self.0, _mm_set1_epi8(tag.cast_signed()))).cast_unsigned()
        }
    }

    /// Those of occupied slots: their high bits.
    #[inline(always)]
    pub(super) fn occupied(self) -> u32 {
        // SAFETY: arithmetic in registers; every x86-64 has SSE2.
        #[allow(unused_unsafe, reason = "newer compilers know that")]
        unsafe {
            core::arch::x86_64::_mm_movemask_epi8(self.0).cast_unsigned()
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
impl Group {
    #[inline(always)]
    pub(super) fn of(tags: &[u8; WIDTH]) -> Self {
        Self(*tags)
    }

    /// Those that are `tag`.
    #[inline(always)]
    pub(super) fn matching(self, tag: u8) -> u32 {
        (0..WIDTH).fold(0, |set, lane| set | u32::from(self.0[lane] == tag) << lane)
    }

    /// Those of occupied slots: their high bits.
    #[inline(always)]
    pub(super) fn occupied(self) -> u32 {
        (0..WIDTH).fold(0, |set, lane| set | u32::from(self.0[lane] >> 7) << lane)
    }
}

impl Group {
    /// The first vacant slot, if one is.
    #[inline(always)]
    pub(super) fn first_vacant(self) -> Option<usize> {
        let lane = self.occupied().trailing_ones() as usize;
        (lane < WIDTH).then_some(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_for_each_lane() {
        for lane in 0..WIDTH {
            let mut tags = [0x85; WIDTH];
            tags[lane] = VACANT;
            assert_eq!(Group::of(&tags).occupied(), 0xffff ^ 1 << lane);
            assert_eq!(Group::of(&tags).matching(0x85), 0xffff ^ 1 << lane);
            assert_eq!(Group::of(&tags).first_vacant(), Some(lane));
            tags[lane] = 0xff;
            assert_eq!(Group::of(&tags).matching(0xff), 1 << lane);
            assert_eq!(Group::of(&tags).first_vacant(), None);
        }
    }
}
