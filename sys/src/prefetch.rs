//! Telling the processor what will be read soon.

/// Begins to bring the cache line of `place` near, without waiting for it. A hint: what the program does is the same
/// without.
#[inline(always)]
pub fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching reads nothing into the program and faults on no address; SSE is part of every x86_64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>((&raw const *place).cast::<i8>());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_brought_near_stays_what_it_is() {
        let many = vec![7_u64; 100_000];
        for place in &many {
            prefetch(place);
        }
        assert!(many.iter().all(|place| *place == 7));
    }
}
