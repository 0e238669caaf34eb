//! What Docker's events say happened, kept until somebody takes it.
//!
//! Bounded: so many wait, further ones are counted; of a container's programs run again and again (health checks are
//! such) the first is told, and then one a minute with how many there were.

use std::collections::BTreeMap;

use portolan_flowtable::Timestamp;
use portolan_flowtable::lifecycle::{Change, Happening};

/// Happenings that wait to be taken.
const WAITING_MAX: usize = 512;
/// Pause between two tellings of programs run in one container.
const EXEC_TOLD_EVERY: i64 = 60 * Timestamp::SECOND;
/// Containers whose programs are counted together.
const EXECS_MAX: usize = 4_096;

/// What waits to be told.
#[derive(Debug, Default)]
pub(crate) struct LifecycleLog {
    waiting: Vec<Happening>,
    left_out: u64,
    /// By container: when its last program was told, and what came since.
    execs: BTreeMap<String, (Timestamp, Option<Happening>)>,
    /// The latest happening of each container and kind: a new subscription hears some again.
    latest: BTreeMap<(String, u8), Timestamp>,
}

impl LifecycleLog {
    /// Notes what happened.
    pub(crate) fn note(&mut self, happening: Happening) {
        let kind = (happening.container_id.clone(), number(&happening.change));
        if self.latest.get(&kind).is_some_and(|at| *at >= happening.at) {
            return;
        }
        if self.latest.len() >= EXECS_MAX {
            self.latest.clear();
        }
        self.latest.insert(kind, happening.at);
        if happening.change != Change::Exec {
            return self.push(happening);
        }
        if let Some((_, since)) = self.execs.get_mut(&happening.container_id) {
            let times = since.as_ref().map_or(0, |it| it.times).saturating_add(1);
            *since = Some(Happening { times, ..happening });
            return;
        }
        if self.execs.len() < EXECS_MAX {
            self.execs.insert(happening.container_id.clone(), (happening.at, None));
        }
        self.push(happening);
    }

    /// Takes what waits, oldest first, and how many found no room.
    pub(crate) fn take(&mut self, now: Timestamp) -> (Vec<Happening>, u64) {
        let mut due = Vec::new();
        self.execs.retain(|_, (told_at, since)| {
            if now.since(*told_at) < EXEC_TOLD_EVERY {
                return true;
            }
            *told_at = now;
            let has_more = since.is_some();
            due.extend(since.take());
            has_more
        });
        due.into_iter().for_each(|happening| self.push(happening));
        let mut taken = std::mem::take(&mut self.waiting);
        taken.sort_by_key(|happening| happening.at);
        (taken, std::mem::take(&mut self.left_out))
    }

    fn push(&mut self, happening: Happening) {
        if self.waiting.len() >= WAITING_MAX {
            self.left_out += 1;
            return;
        }
        self.waiting.push(happening);
    }
}

/// Tells kinds apart; connections by network too, as several may be made at once.
fn number(change: &Change) -> u8 {
    match change {
        Change::Start => 0,
        Change::Exec => 1,
        Change::Die { .. } => 2,
        Change::Oom => 3,
        Change::HealthStatus { .. } => 4,
        Change::NetworkConnect { .. } => 5,
        Change::NetworkDisconnect { .. } => 6,
        Change::NewImage { .. } => 7,
    }
}

/// Reads an event's action of a container: `exec_start: psql -U me` is an exec, and nothing of its command is kept.
pub(crate) fn change_of(action: &str, exit_code: Option<&String>) -> Option<Change> {
    let (word, rest) = action.split_once(':').unwrap_or((action, ""));
    match word {
        "start" => Some(Change::Start),
        "exec_start" => Some(Change::Exec),
        "die" => Some(Change::Die { exit_code: exit_code.and_then(|text| text.parse().ok()) }),
        "oom" => Some(Change::Oom),
        "health_status" => {
            let word: String = rest.trim().chars().take(32).collect();
            let is_plain =
                !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            Some(Change::HealthStatus { status: if is_plain { word } else { "unknown".to_owned() } })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(seconds: i64, id: &str, change: Change) -> Happening {
        Happening {
            at: Timestamp(seconds * Timestamp::SECOND),
            container_id: id.to_owned(),
            container: String::new(),
            service: String::new(),
            image: String::new(),
            change,
            times: 1,
        }
    }

    #[test]
    fn of_a_command_nothing_is_kept() {
        let code = "137".to_owned();
        #[rustfmt::skip]
        let cases = [
            ("exec_start: mysql -psecret",  None,        Some(Change::Exec)),
            ("exec_create: mysql -psecret", None,        None),
            ("exec_die",                    Some(&code), None),
            ("start",                       None,        Some(Change::Start)),
            ("die",                         Some(&code), Some(Change::Die { exit_code: Some(137) })),
            ("die",                         None,        Some(Change::Die { exit_code: None })),
            ("oom",                         None,        Some(Change::Oom)),
            ("health_status: unhealthy",    None,        Some(Change::HealthStatus { status: "unhealthy".to_owned() })),
            ("health_status: \u{1b}[31m",   None,        Some(Change::HealthStatus { status: "unknown".to_owned() })),
            ("attach",                      None,        None),
        ];
        for (action, code, expected) in cases {
            assert_eq!(change_of(action, code), expected, "{action}");
        }
    }

    #[test]
    fn programs_run_again_and_again_are_told_once_a_minute_with_their_number() {
        let mut log = LifecycleLog::default();
        let told = |log: &mut LifecycleLog, now: i64| -> Vec<(i64, u64)> {
            let taken = log.take(Timestamp(now * Timestamp::SECOND)).0;
            taken.iter().map(|it| (it.at.0 / Timestamp::SECOND, it.times)).collect()
        };
        for second in 0..30 {
            log.note(happening(100 + second, "a", Change::Exec));
        }
        log.note(happening(103, "b", Change::Exec));
        assert_eq!(told(&mut log, 130), [(100, 1), (103, 1)]);
        assert_eq!(told(&mut log, 159), []);
        assert_eq!(told(&mut log, 163), [(129, 29)]);
        assert_eq!(told(&mut log, 300), []);
        log.note(happening(301, "a", Change::Exec));
        assert_eq!(told(&mut log, 301), [(301, 1)]);
    }

    #[test]
    fn what_is_heard_again_is_told_once_and_what_finds_no_room_is_counted() {
        let mut log = LifecycleLog::default();
        for _ in 0..2 {
            log.note(happening(100, "a", Change::Start));
            log.note(happening(101, "a", Change::Die { exit_code: Some(0) }));
        }
        assert_eq!(log.take(Timestamp(0)).0.len(), 2);
        for number in 0..WAITING_MAX + 3 {
            log.note(happening(200, &number.to_string(), Change::Start));
        }
        let (taken, left_out) = log.take(Timestamp(0));
        assert_eq!((taken.len(), left_out), (WAITING_MAX, 3));
    }
}
