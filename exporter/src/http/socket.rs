//! The socket file: made where nobody else can, replaced only if nobody answers.
//!
//! Whoever could write to its folder, or rename one above it, could put a socket of their own in its place and answer
//! for the daemon. So the folder is no link, it belongs to this user or to root, and nobody else may write there; nor
//! above it, but where the sticky bit keeps others from renaming it.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixStream};

use super::ServeError;

/// A listening socket; its file goes with it.
#[derive(Debug)]
pub(super) struct SocketFile {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and number of the file.
    made: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another's file is left alone.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.made) {
            // Nothing to do about a failure: the next start finds the file stale and removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

pub(super) async fn bind(path: &Path, mode: u32) -> Result<SocketFile, ServeError> {
    let failed = |source| ServeError::Socket { path: path.to_owned(), source };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    if !directory.exists() {
        let group = if mode & 0o060 == 0 { 0o700 } else { 0o750 };
        fs::DirBuilder::new().recursive(true).mode(group).create(directory).map_err(failed)?;
    }
    keep_private(directory)?;
    make_room(path).await?;

    let listener = UnixListener::bind(path).map_err(failed)?;
    // The directory keeps others out of the moment between the two.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    let made = fs::symlink_metadata(path).map_err(failed)?;
    Ok(SocketFile { listener, path: path.to_owned(), made: (made.dev(), made.ino()) })
}

/// Refuses a folder in which somebody else could put another socket in this one's place.
fn keep_private(directory: &Path) -> Result<(), ServeError> {
    let failed = |source| ServeError::Socket { path: directory.to_owned(), source };
    let found = fs::symlink_metadata(directory).map_err(failed)?;
    if !found.is_dir() {
        return Err(ServeError::NotADirectory { path: directory.to_owned() });
    }
    if ![0, geteuid().as_raw()].contains(&found.uid()) {
        return Err(ServeError::ForeignDirectory { path: directory.to_owned() });
    }
    let whole = fs::canonicalize(directory).map_err(failed)?;
    for (height, folder) in whole.ancestors().enumerate() {
        let mode = fs::symlink_metadata(folder).map_err(failed)?.mode();
        let is_sticky = height > 0 && mode & 0o1000 != 0;
        if mode & 0o022 != 0 && !is_sticky {
            return Err(ServeError::SharedDirectory { path: folder.to_owned() });
        }
    }
    Ok(())
}

async fn make_room(path: &Path) -> Result<(), ServeError> {
    let failed = |source| ServeError::Socket { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => Err(ServeError::NotASocket { path: path.to_owned() }),
        Ok(_) => match UnixStream::connect(path).await {
            Ok(_) => Err(ServeError::Answered { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)
            }
            // A full backlog is a daemon too.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(ServeError::Answered { path: path.to_owned() })
            }
            Err(error) => Err(failed(error)),
        },
    }
}
