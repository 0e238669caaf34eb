//! What people and Docker write: rosters, contracts, configurations.

use portolan_daemon::config::Config;
use portolan_flowtable::Timestamp;
use portolan_identity::{PictureRecord, Roster};
use portolan_policy::Contract;

use super::named;
use super::text::is_fit_for_a_terminal;

/// A roster is refused at a place, or read to a picture that a journal holds whole.
pub fn roster(bytes: &[u8]) {
    let file = match Roster::parse("roster.toml", bytes) {
        Ok(file) => file,
        Err(error) => return is_fit_for_a_terminal(&error.to_string(), false),
    };
    let roster = Roster::merge(vec![file.clone(), file]);
    let _ = (roster.subnets(), roster.addresses(), roster.bound_after(Timestamp(0)));
    for at in roster.changes().into_iter().take(3).chain([Timestamp(0), Timestamp(i64::MAX)]) {
        let record = PictureRecord::of(&roster.picture_at(at, 7));
        let text = serde_json::to_string(&record).expect("memory takes what is written");
        let read: PictureRecord =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(read, record);
        assert_eq!(PictureRecord::of(&read.restore()), record);
    }
}

/// The same for what `docker inspect` prints: containers, networks, images.
pub fn docker_json(bytes: &[u8]) {
    let mut text = b"[".to_vec();
    text.extend(bytes);
    roster(&text);
    text.push(b']');
    roster(&text);
}

/// A contract is refused at a place, or judges every conversation.
pub fn contract(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Contract::parse_all([("one.toml", text), ("two.toml", text)]) {
        Err(errors) => errors.iter().for_each(|error| is_fit_for_a_terminal(&error.to_string(), false)),
        Ok(contract) => {
            let publication = named::of(&["web".to_owned(), "shop".to_owned(), "db".to_owned()]);
            let mut snapshot = publication.assessment.snapshot;
            snapshot.conversations =
                publication.assessment.judged.into_iter().map(|judged| judged.conversation).collect();
            let conversations = snapshot.conversations.len();
            let (assessed, again) = (contract.assess(snapshot.clone()), contract.assess(snapshot));
            assert_eq!(assessed, again);
            assert_eq!(assessed.judged.len(), conversations);
            assert_eq!(contract.hash(), contract.clone().hash());
        }
    }
}

/// A configuration is refused at a place, or reads back from what it is printed as.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::from_toml(text, "portolan.toml") {
        Err(failure) => is_fit_for_a_terminal(&failure.message, false),
        Ok(config) => {
            let _ = config.flowtable.limits();
            let printed = toml::to_string(&config).expect("a configuration is TOML");
            assert_eq!(Config::from_toml(&printed, "printed").ok().as_ref(), Some(&config), "{printed}");
        }
    }
}
