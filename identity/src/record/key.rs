//! Keys of a written picture: numbers and places as text.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::str::FromStr;

use portolan_flowtable::ScopeId;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key that is written as text wherever it stands. Map keys are text in JSON; a plain number as a key cannot be
/// read back where serde has to buffer it first, as in an internally tagged enum (serde issue 1183).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Key<T>(pub(super) T);

impl<T: fmt::Display> Serialize for Key<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Key<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<T>(PhantomData<T>);

        impl<T: FromStr> Visitor<'_> for Text<T> {
            type Value = Key<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a scope's number and an address, as text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map(Key).map_err(|_| E::custom(format_args!("{text:?} is no key")))
            }
        }

        deserializer.deserialize_str(Text(PhantomData))
    }
}

/// An address in a network: `1 172.18.0.2` is that address in scope 1.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Place {
    pub(super) scope: ScopeId,
    pub(super) address: IpAddr,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.scope.0, self.address)
    }
}

/// The text was no `scope address`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NotAPlace;

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scope, address) = text.split_once(' ').ok_or(NotAPlace)?;
        Ok(Self {
            scope: ScopeId(scope.parse().map_err(|_| NotAPlace)?),
            address: address.parse().map_err(|_| NotAPlace)?,
        })
    }
}
