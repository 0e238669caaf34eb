//! The roster: who sits behind which interface and holds which address, from when to when.
//!
//! # Where it sits
//!
//! The one room that knows Docker and netlink. It answers `flowtable` through an
//! [`InterfaceTable`](portolan_flowtable::InterfaceTable), a [`RosterDirectory`] and
//! [`Names`](portolan_flowtable::Names), bundled as a [`Picture`] that is replaced whole and never edited.
//! A picture comes from files ([`Roster`], replay) or from the running host ([`follow`], live).
//!
//! # Invariants
//!
//! - **Identity is the attachment.** A container is matched to its veth by its network namespace, never by an
//!   address. Addresses, labels and names are claims about a container that is known already.
//! - **An attachment is never bound to another container.** Addresses are reused at once; attachments never.
//! - **Docker events are hints.** List plus inspect is the truth, taken at every subscription.
//! - **Nothing secret is kept.** Environment and command of a container are never read out of Docker's answers.
//! - **Only questions.** Docker is asked by GET requests alone.

mod directory;
mod docker;
mod follow;
mod indicators;
mod inventory;
mod lifecycle;
pub mod links;
mod listening;
mod namespaces;
mod naming;
mod picture;
mod random_names;
pub mod record;
mod registry;
pub mod roster;
mod subnet;

pub use directory::RosterDirectory;
pub use follow::{FollowOptions, IdentityError, follow};
pub use links::{Link, LinkAddress, LinkError, LinkFollower, LinkPicture};
pub use picture::{Counts, DockerState, Picture};
pub use record::{PicturePatch, PictureRecord};
pub use registry::RosterBook;
pub use roster::{Roster, RosterError, RosterFile, RosterInterface};
pub use subnet::Subnet;
