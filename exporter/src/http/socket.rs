//! The socket file: made where nobody else can, replaced only if nobody answers.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::ServeError;

/// A listening socket; its file goes with it.
#[derive(Debug)]
pub(super) struct SocketFile {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nothing to do about a failure: the next start finds the file stale and removes it.
        let _ = fs::remove_file(&self.path);
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
    let permissions = fs::metadata(directory).map_err(failed)?.permissions();
    if permissions.mode() & 0o022 != 0 {
        return Err(ServeError::SharedDirectory { path: directory.to_owned() });
    }
    make_room(path).await?;

    let listener = UnixListener::bind(path).map_err(failed)?;
    // The directory keeps others out of the moment between the two.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(SocketFile { listener, path: path.to_owned() })
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
