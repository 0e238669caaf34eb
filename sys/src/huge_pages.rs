//! Large pages for large arrays (madvise(2), `MADV_HUGEPAGE`).

use std::ffi::c_void;
use std::mem::MaybeUninit;

/// Size of a large page on x86_64 and most other processors.
const HUGE_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Asks the kernel to back memory that nobody wrote yet by large pages: fewer faults while it is filled, fewer misses of
/// address translation ever after. What is not a whole large page stays as it is, and where the kernel has none to
/// give, all of it; nothing but speed depends on it.
///
/// Returns whether the kernel took note.
pub fn prefer_huge_pages<T>(unwritten: &mut [MaybeUninit<T>]) -> bool {
    let start = unwritten.as_mut_ptr().cast::<u8>();
    let skipped = start.align_offset(HUGE_PAGE_BYTES);
    let Some(length) = size_of_val(unwritten).checked_sub(skipped) else { return false };
    let length = length - length % HUGE_PAGE_BYTES;
    if length == 0 {
        return false;
    }
    // SAFETY: `skipped` lies within the slice, whose whole large pages these are: memory of ours alone, for as long as it
    // is borrowed. The advice changes what backs it and never what stands in it.
    unsafe { libc::madvise(start.add(skipped).cast::<c_void>(), length, libc::MADV_HUGEPAGE) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_can_be_filled_as_before() {
        let mut many: Vec<u64> = Vec::with_capacity(1 << 20);
        prefer_huge_pages(many.spare_capacity_mut());
        many.resize(1 << 20, 7);
        assert!(many.iter().all(|each| *each == 7));
    }

    #[test]
    fn less_than_a_large_page_is_left_alone() {
        assert!(!prefer_huge_pages(&mut [] as &mut [MaybeUninit<u64>]));
        assert!(!prefer_huge_pages(&mut [MaybeUninit::<u8>::uninit(); 100]));
    }
}
