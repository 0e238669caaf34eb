//! Short texts of which there are hundreds of thousands: names, Community IDs, letters of flows.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digits;

/// A text that is not changed. Up to [`Text::INLINE_MAX`] bytes stand in the value itself, so that neither making nor
/// dropping it asks the allocator for anything; a longer one is shared by its clones.
#[derive(Clone)]
pub struct Text(Form);

#[derive(Clone)]
enum Form {
    Inline { length: u8, bytes: [u8; Text::INLINE_MAX] },
    Shared(Arc<str>),
}

impl Text {
    /// Longest text that stands in the value itself, in bytes: a Community ID.
    pub const INLINE_MAX: usize = 30;

    /// Takes ASCII letters; what is none, or beyond [`Text::INLINE_MAX`], is left out.
    pub fn ascii(letters: impl IntoIterator<Item = u8>) -> Self {
        let mut bytes = [0; Self::INLINE_MAX];
        let mut length = 0_u8;
        for (place, letter) in bytes.iter_mut().zip(letters.into_iter().filter(u8::is_ascii)) {
            *place = letter;
            length += 1;
        }
        Self(Form::Inline { length, bytes })
    }

    /// Writes an address.
    pub fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => {
                let mut bytes = [0; Self::INLINE_MAX];
                let length = digits::ipv4(v4, &mut bytes);
                Self(Form::Inline { length, bytes })
            }
            IpAddr::V6(v6) => Self::from(v6.to_string()),
        }
    }

    /// Returns the text's bytes, which are UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Form::Inline { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Form::Shared(text) => text.as_bytes(),
        }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Form::Inline { .. } => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Form::Shared(text) => text,
        }
    }

    fn inline(text: &str) -> Option<Self> {
        let mut bytes = [0; Self::INLINE_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self(Form::Inline { length: u8::try_from(text.len()).ok()?, bytes }))
    }
}

impl Default for Text {
    fn default() -> Self {
        Self(Form::Inline { length: 0, bytes: [0; Self::INLINE_MAX] })
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::inline(text).unwrap_or_else(|| Self(Form::Shared(text.into())))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&Arc<str>> for Text {
    fn from(text: &Arc<str>) -> Self {
        Self::inline(text).unwrap_or_else(|| Self(Form::Shared(Arc::clone(text))))
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.as_str().to_owned()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Eq for Text {}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_it_was_made_of_whatever_its_length() {
        for length in 0..70 {
            for letter in ["x", "é", "\u{1f980}"] {
                let text = letter.repeat(length);
                assert_eq!(Text::from(text.as_str()), text.as_str());
                assert_eq!(Text::from(&Arc::from(text.as_str())), Text::from(text.clone()));
                let written = serde_json::to_string(&Text::from(text.as_str())).unwrap();
                assert_eq!(written, serde_json::to_string(&text).unwrap());
                assert_eq!(serde_json::from_str::<Text>(&written).unwrap(), text.as_str());
            }
        }
        assert_eq!(Text::default(), "");
        assert_ne!(Text::from("web"), Text::from("web\0"));
    }

    #[test]
    fn addresses_are_written_as_the_library_does() {
        let addresses = ["0.0.0.0", "10.9.99.255", "172.18.0.2", "255.255.255.255", "::", "2001:db8::1"];
        let long = "2001:db8:1234:5678:9abc:def0:1234:5678";
        for text in addresses.into_iter().chain([long, "::ffff:1.2.3.4"]) {
            assert_eq!(Text::address(text.parse().unwrap()), text);
        }
    }

    #[test]
    fn a_record_has_no_room_to_waste_on_texts() {
        assert_eq!(size_of::<Text>(), 32);
    }
}
