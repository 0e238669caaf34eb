//! Faults that tests ask for: a thread panics or stands still at a place of its own.
//!
//! Only in builds with debug assertions: a release has no such switch, and not the name of its variable.

/// Does what `TEST_FAULT` asks for at this place: `tap:panic:5` panics there the fifth time, `tap:stall:5` stands still
/// for ever, `tap:pause:5` for five seconds.
#[cfg(debug_assertions)]
pub(crate) fn point(place: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    static ASKED: OnceLock<Option<(String, String, u32)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);

    let asked = ASKED.get_or_init(|| {
        let text = std::env::var("TEST_FAULT").ok()?;
        let mut words = text.split(':').map(str::to_owned);
        Some((words.next()?, words.next()?, words.next()?.parse().ok()?))
    });
    let Some((at, what, times)) = asked else { return };
    if at != place || PASSED.fetch_add(1, Ordering::Relaxed) + 1 != *times {
        return;
    }
    match what.as_str() {
        "panic" => panic!("a test asked for it"),
        "pause" => std::thread::sleep(Duration::from_secs(5)),
        _ => loop {
            std::thread::park();
        },
    }
}

/// Does nothing.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_place: &str) {}
