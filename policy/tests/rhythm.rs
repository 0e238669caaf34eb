//! Beacons and bursts, and the ordinary life that must not be taken for either.

use portolan_flowtable::Timestamp;
use portolan_policy::rhythm::{Beacon, Excess, Level, LevelLimits};

const MINUTE: i64 = 60 * Timestamp::SECOND;
const START: i64 = 1_795_132_800 * Timestamp::SECOND;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most.max(1)
    }

    /// A span of milliseconds with an exponential distribution of this mean.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a random span")]
    fn pause(&mut self, mean: f64) -> i64 {
        let share = ((self.next() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        (-share.ln() * mean) as i64
    }
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp(START).plus(milliseconds * Timestamp::MILLISECOND)
}

/// Returns in how many of 1,000 beacons of a minute, with a tenth of jitter and so many beats in a hundred missed, the
/// period is found within 20 of them.
fn found_within_20_periods(missed_percent: u64) -> u64 {
    let mut found = 0;
    for seed in 0..1_000 {
        let mut dice = Dice(seed);
        let (mut beacon, mut now, mut period) = (Beacon::default(), 0, None);
        for _ in 0..=20 {
            beacon.call(at(now));
            period = period.or(beacon.period());
            // Between 54 and 66 s.
            now += 54_000 + i64::try_from(dice.below(12_001)).unwrap_or(0);
            now += if dice.below(100) < missed_percent { 60_000 } else { 0 };
        }
        if let Some(period) = period {
            assert!(
                (54 * Timestamp::SECOND..=66 * Timestamp::SECOND).contains(&period.nanoseconds),
                "{period:?}"
            );
            found += 1;
        }
    }
    found
}

#[test]
fn a_beacon_of_a_minute_with_a_tenth_of_jitter_is_found_within_20_periods() {
    assert_eq!(found_within_20_periods(0), 1_000);
    let missed = found_within_20_periods(5);
    assert!(missed >= 950, "with one beat in twenty missed {missed} of 1,000 are found");
}

#[test]
fn what_comes_by_chance_in_bursts_or_fast_is_no_beacon() {
    let mut taken = 0;
    for seed in 0..4_000 {
        let mut dice = Dice(seed);
        let (mut beacon, mut now) = (Beacon::default(), 0);
        for call in 0..100 {
            beacon.call(at(now));
            taken += u32::from(beacon.period().is_some());
            now += match seed % 4 {
                // By chance.
                0 => dice.pause(60_000.0),
                // A person: some pages, then a pause.
                1 if call % 5 == 0 => dice.pause(300_000.0),
                1 => 2_000 + dice.pause(8_000.0),
                // A poll.
                2 => 2_000,
                // Any time between a second and two minutes.
                _ => 1_000 + i64::try_from(dice.below(119_000)).unwrap_or(0),
            };
        }
    }
    assert_eq!(taken, 0, "of 400,000 looks");
}

/// What a service does in a minute: a daily swing between 20 and 420, and a third of noise.
fn swing(dice: &mut Dice, minute: i64) -> u64 {
    let of_day = minute.rem_euclid(1_440);
    let busy = 720 - (of_day - 720).abs();
    let level = 20 + u64::try_from(busy).unwrap_or(0) * 400 / 720;
    level * (67 + dice.below(67)) / 100
}

/// Lives for some days, with `extra` on top; everything unusual that was found.
fn live(seed: u64, days: i64, extra: impl Fn(i64, u64) -> u64) -> Vec<Excess> {
    let (mut dice, mut level) = (Dice(seed), Level::default());
    let limits = LevelLimits::default();
    let minutes = 0..days * 1_440;
    minutes
        .filter_map(|minute| {
            let usual = swing(&mut dice, minute);
            level.add(Timestamp(START + minute * MINUTE), extra(minute, usual), &limits)
        })
        .collect()
}

#[test]
fn a_daily_swing_is_usual() {
    for seed in 0..20 {
        assert_eq!(live(seed, 8, |_, usual| usual), [], "seed {seed}");
    }
}

#[test]
fn a_tenfold_burst_is_told_once_and_does_not_become_usual() {
    for seed in 0..50 {
        // Twenty minutes on the fifth day and again on the sixth, at any time of day.
        let begin = 4 * 1_440 + i64::try_from(seed).unwrap_or(0) * 28;
        let is_burst =
            |minute: i64| [0, 1_440].iter().any(|day| (begin..begin + 20).contains(&(minute - day)));
        let found = live(seed, 7, |minute, usual| if is_burst(minute) { usual * 10 } else { usual });
        let from: Vec<i64> =
            found.iter().map(|excess| excess.from.since(Timestamp(START)) / MINUTE - begin).collect();
        let is_once = match from[..] {
            [first, second] => (0..18).contains(&first) && (1_440..1_458).contains(&second),
            _ => false,
        };
        assert!(is_once, "seed {seed}: {found:?}");
    }
}

#[test]
fn first_days_and_a_little_are_nothing_to_judge_by() {
    assert_eq!(live(1, 3, |minute, usual| if minute > 3_000 { usual * 50 } else { usual }), []);
    let (mut level, limits) = (Level::default(), LevelLimits::default());
    // Nothing for five days, then a few: tenfold of nothing is still a little.
    let few =
        (0..5 * 1_440).map(|minute| (minute, 0)).chain((5 * 1_440..5 * 1_440 + 60).map(|minute| (minute, 9)));
    let found: Vec<Excess> = few
        .filter_map(|(minute, amount)| level.add(Timestamp(START + minute * MINUTE), amount, &limits))
        .collect();
    assert_eq!(found, []);
}

#[test]
fn instants_out_of_order_or_far_apart_cost_nothing() {
    let (mut level, limits, mut beacon) = (Level::default(), LevelLimits::default(), Beacon::default());
    for at in [5, 3, i64::MAX, i64::MIN, 0, i64::MAX - 1].map(Timestamp) {
        level.add(at, u64::MAX, &limits);
        beacon.call(at);
    }
    assert_eq!(beacon.period(), None);
}
