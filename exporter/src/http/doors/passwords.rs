//! Names and passwords, against bcrypt hashes.
//!
//! # Invariants
//!
//! - **Same time.** A name nobody has takes as long as one somebody has: it is compared with one of the hashes, the
//!   same for the same name, and the outcome is thrown away.
//! - **Once.** A password that was right is known again by a hash under a key that never leaves the process, so a
//!   scrape does not cost what a guess costs. A wrong one is never remembered: guessing stays slow.
//! - **One at a time.** Guessing takes one processor, however many guess.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use super::web_config::Wrong;
use crate::escape;

/// Highest cost of a hash: about a second for each guess.
const COST_MAX: u32 = 14;

/// Who may ask: names and bcrypt hashes.
#[derive(Default)]
pub(super) struct Users {
    hashes: Vec<(String, String)>,
}

impl Users {
    /// Takes hashes that are hashes.
    pub(super) fn new(written: BTreeMap<String, String>) -> Result<Self, Wrong> {
        for (name, hash) in &written {
            let wrong =
                |problem: &str| Wrong::new(format!("basic_auth_users.{}", escape::terminal(name)), problem);
            if name.is_empty() || name.contains(':') {
                return Err(wrong("is no name a client can send: take one without a colon"));
            }
            let parts: HashParts = hash
                .parse()
                .map_err(|_| wrong("is not a bcrypt hash: make one with htpasswd -nBC 10 \"\""))?;
            if !(4..=COST_MAX).contains(&parts.get_cost()) {
                return Err(wrong(&format!(
                    "has cost {}, which must lie between 4 and {COST_MAX}: make one with htpasswd -nBC 10 \"\"",
                    parts.get_cost()
                )));
            }
        }
        Ok(Self { hashes: written.into_iter().collect() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

/// Checks passwords.
pub(super) struct Passwords {
    /// None where the system gives no random bytes: then nothing is remembered.
    key: Option<hmac::Key>,
    right: Mutex<BTreeMap<String, hmac::Tag>>,
    turn: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        Self { key, right: Mutex::default(), turn: Arc::new(Semaphore::new(1)) }
    }

    /// Returns whether `credentials`, what follows `Basic `, are a user's.
    pub(super) async fn admit(&self, users: &Users, credentials: &[u8]) -> bool {
        let Some((name, password)) = STANDARD.decode(credentials).ok().and_then(split) else {
            return false;
        };
        let own = users.hashes.iter().find(|(known, _)| *known == name);
        let Some((_, hash)) = own.or_else(|| self.decoy(users, &name)) else {
            return false;
        };
        let mark = [name.as_bytes(), hash.as_bytes(), password.as_slice()]
            .map(|part| [&part.len().to_le_bytes(), part].concat());
        let mark = mark.concat();
        if own.is_some() && self.is_known(&name, &mark) {
            return true;
        }
        let Ok(permit) = Arc::clone(&self.turn).acquire_owned().await else {
            return false;
        };
        let hash = hash.clone();
        let checked = tokio::task::spawn_blocking(move || {
            // Kept to the end of the work, also where nobody waits for it any more.
            let _permit = permit;
            bcrypt::verify(&password, &hash).unwrap_or(false)
        });
        let is_right = checked.await.unwrap_or(false) && own.is_some();
        if is_right && let Some(key) = &self.key {
            self.right.lock().unwrap_or_else(PoisonError::into_inner).insert(name, hmac::sign(key, &mark));
        }
        is_right
    }

    fn is_known(&self, name: &str, mark: &[u8]) -> bool {
        let Some(key) = &self.key else {
            return false;
        };
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.get(name).is_some_and(|tag| hmac::verify(key, mark, tag.as_ref()).is_ok())
    }

    /// Returns the hash a name nobody has is compared with.
    fn decoy<'a>(&self, users: &'a Users, name: &str) -> Option<&'a (String, String)> {
        let tag = self.key.as_ref().map(|key| hmac::sign(key, name.as_bytes()));
        let pick = tag.and_then(|tag| tag.as_ref().first().copied()).unwrap_or(0);
        users.hashes.get(usize::from(pick) % users.hashes.len().max(1))
    }
}

/// Returns name and password of `name:password`.
fn split(decoded: Vec<u8>) -> Option<(String, Vec<u8>)> {
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (name, password) = decoded.split_at(colon);
    Some((String::from_utf8(name.to_vec()).ok()?, password.get(1..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_users_own_password_is_admitted_also_when_remembered() {
        let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
        let users = [("ann", hash("a:b")), ("bob", hash("b"))].map(|(name, hash)| (name.to_owned(), hash));
        let users = Users::new(users.into()).unwrap();
        let passwords = Passwords::new();
        #[rustfmt::skip]
        let cases = [
            // credentials   expected
            ("ann:a:b",      true),
            ("bob:b",        true),
            ("ann:b",        false),
            ("bob:a:b",      false),
            ("ann:",         false),
            ("ann",          false),
            ("Ann:a:b",      false),
            ("eve:b",        false),
            ("eve:a:b",      false),
            (":",            false),
            ("",             false),
        ];
        // Twice: what is remembered must not change an answer.
        for (credentials, expected) in cases.into_iter().chain(cases) {
            let encoded = STANDARD.encode(credentials);
            assert_eq!(passwords.admit(&users, encoded.as_bytes()).await, expected, "{credentials}");
        }
        assert!(!passwords.admit(&users, b"not base64").await);
        assert!(!passwords.admit(&Users::default(), STANDARD.encode("ann:a:b").as_bytes()).await);
        let changed = Users::new([("ann".to_owned(), hash("other"))].into()).unwrap();
        assert!(
            !passwords.admit(&changed, STANDARD.encode("ann:a:b").as_bytes()).await,
            "the hash is another"
        );
    }

    #[test]
    fn what_is_no_user_is_refused_without_quoting_the_hash() {
        let fine = bcrypt::hash("x", 4).unwrap();
        #[rustfmt::skip]
        let cases = [
            // name     hash                            expected
            ("ann",     fine.clone(),                   None),
            ("ann",     "secret".to_owned(),            Some("is not a bcrypt hash")),
            ("ann",     fine.replace("$04$", "$31$"),   Some("has cost 31")),
            ("a:b",     fine.clone(),                   Some("is no name")),
            ("",        fine,                           Some("is no name")),
        ];
        for (name, hash, expected) in cases {
            let refusal = Users::new([(name.to_owned(), hash.clone())].into()).err();
            match (&refusal, expected) {
                (Some(wrong), Some(expected)) => {
                    assert!(
                        wrong.problem.starts_with(expected) && !wrong.problem.contains(&hash),
                        "{wrong:?}"
                    );
                }
                (None, None) => {}
                (Some(_) | None, Some(_) | None) => panic!("{name} {hash}: {refusal:?}, not {expected:?}"),
            }
        }
    }
}
