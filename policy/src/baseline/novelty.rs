//! How likely it is that the next draw shows an edge nobody has seen.
//!
//! # Sources
//!
//! I. J. Good, "The population frequencies of species and the estimation of population parameters", Biometrika 40
//! (1953): the mass of the unseen is about the number of species seen once, divided by the draws. W. W. Esty, "A normal
//! limit law for a nonparametric estimator of the coverage of a random sample", Annals of Statistics 11 (1983): its
//! variance. Both take draws to be independent; traffic's are not. So the share of draws that did show something new in
//! the latter half is held beside it, and the greater of the two is the bound.

/// What a service's draws come to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Draws {
    /// All of them.
    pub all: u64,
    /// Edges drawn exactly once.
    pub once: u64,
    /// Edges drawn exactly twice.
    pub twice: u64,
    /// Edges first drawn in the latter half.
    pub late: u64,
}

/// The chance that the next draw shows an edge nobody has seen, between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Novelty {
    /// Good and Turing's estimate.
    pub estimate: f64,
    /// It is at most this, said with 95 % confidence.
    pub bound: f64,
}

/// 95 % of a normal distribution lie below so many standard deviations above its mean.
const DEVIATIONS: f64 = 1.645;
/// Nothing in so many expected draws has a chance of 5 %: -ln 0.05.
const NOTHING_SEEN: f64 = 3.0;

impl Draws {
    /// Returns how likely something new is.
    #[expect(clippy::cast_precision_loss, reason = "a share of counts needs no more than 52 bits")]
    pub fn novelty(&self) -> Novelty {
        if self.all == 0 {
            return Novelty { estimate: 1.0, bound: 1.0 };
        }
        let [all, once, twice, late] = [self.all, self.once, self.twice, self.late].map(|count| count as f64);
        let estimate = once / all;
        let spread = (once * (1.0 - estimate) + 2.0 * twice).max(0.0).sqrt();
        let seen_once = (once + DEVIATIONS * spread + NOTHING_SEEN) / all;
        let seen_late = (late + DEVIATIONS * late.sqrt() + NOTHING_SEEN) / (all / 2.0).max(1.0);
        Novelty { estimate, bound: seen_once.max(seen_late).min(1.0) }
    }

    /// Returns after how many further draws without anything new the bound would be at most `wanted`, where the
    /// edges drawn once are drawn again meanwhile.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an advice, in positive whole draws"
    )]
    pub fn further(&self, wanted: f64) -> u64 {
        let needed = (2.0 * NOTHING_SEEN / wanted.max(1e-9)).ceil().min(1e15) as u64;
        // Half of all draws then have to be later than what is late today.
        let doubled = if self.late > 0 { self.all } else { 0 };
        needed.saturating_sub(self.all).max(doubled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_seen_promises_nothing_and_much_seen_again_promises_much() {
        #[rustfmt::skip]
        let cases = [
            // all     once  twice  late  estimate  bound
            (0,        0,    0,     0,    1.0,      1.0),
            (1,        1,    0,     1,    1.0,      1.0),
            (600,      0,    0,     0,    0.0,      0.01),
            (6_000,    0,    0,     0,    0.0,      0.001),
            (1_000,    10,   0,     0,    0.01,     0.018_175),
            (1_000,    0,    0,     4,    0.0,      0.020_58),
        ];
        for (all, once, twice, late, estimate, bound) in cases {
            let novelty = Draws { all, once, twice, late }.novelty();
            assert!((novelty.estimate - estimate).abs() < 1e-9, "{all} {novelty:?}");
            assert!((novelty.bound - bound).abs() < 1e-5, "{all} {novelty:?}");
        }
    }

    #[test]
    fn more_draws_without_news_never_raise_the_bound() {
        let bound = |all| Draws { all, once: 2, twice: 3, late: 1 }.novelty().bound;
        assert!((4..2_000).all(|all| bound(all + 1) <= bound(all)));
    }

    #[test]
    fn the_advice_is_enough() {
        for draws in [Draws { all: 10, ..Draws::default() }, Draws { all: 900, late: 3, ..Draws::default() }]
        {
            let all = draws.all + draws.further(0.01);
            assert!(Draws { all, ..Draws::default() }.novelty().bound <= 0.01, "{draws:?}");
        }
    }
}
