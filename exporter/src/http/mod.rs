//! HTTP: metrics, API and a page, over TCP and over a socket file for the command line.
//!
//! # Invariants
//!
//! - **Reads only.** Nothing here changes anything. What should be changed comes as a POST by the socket file and is
//!   handed on as an [`Order`], with the user id of whoever asks.
//! - **One publication per answer**, so that no answer contradicts itself.
//! - **Bounded.** Connections in all and of one origin, header size and time, handshake time, requests and age of a
//!   connection, time without progress of an answer, bytes of answers not taken; bodies are refused. A new connection
//!   displaces the one that has been quiet longest where most are, so those who hold connections open keep nobody
//!   else out.
//! - **Closed by default.** Other than loopback addresses need a token, passwords, client certificates or an explicit
//!   word; a `Host` header that names another place is refused (DNS rebinding).
//! - **Layers add up.** TLS and client certificates are asked of every TCP connection, then `Host`, then a token or
//!   a password, whichever of the two the client has. The socket file is guarded by its mode alone.

mod accept;
mod activity;
mod doors;
mod guard;
mod guests;
mod orders;
mod page;
mod routes;
mod socket;
mod stream;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::doors::Doors;
use crate::atomics;
use crate::collect::SeriesLimits;
use crate::own::OwnMetrics;
use crate::publication::Publication;
use crate::snapshots::Snapshots;

pub use doors::WebConfigError;
pub use orders::{ORDERS, Order, OrderAnswer, OrderDoor};
pub use page::{self_contained, self_contained_with};
pub use routes::{GraphForms, Status, plain_graph_forms};

/// Port of the daemon's pages and metrics.
pub const PORT: u16 = 9414;

/// How and to whom to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Whether addresses other than loopback may be served without a token.
    pub is_open: bool,
    /// What `Authorization: Bearer` must carry over TCP. The health probes need none.
    pub token: Option<String>,
    /// File that asks for TLS, client certificates and passwords over TCP, in exporter-toolkit's schema.
    pub web_config: Option<PathBuf>,
    /// Where it is told that this file was read again, or why not.
    pub notice: fn(&str),
    /// Further names this host is called by in a `Host` header.
    pub hosts: Vec<String>,
    /// Socket file for the command line; its directory must be nobody else's to write.
    pub socket: Option<PathBuf>,
    /// Mode of the socket file: 0o600, or 0o660 to admit its group.
    pub socket_mode: u32,
    /// Series limits of the exposition.
    pub series: SeriesLimits,
    /// Age of the latest publication from which on the daemon is not ready: a thread stalls.
    pub stalls_after: Duration,
    /// Patience with clients.
    pub patience: Patience,
    /// Where orders go that come by the socket; without, none are taken.
    pub orders: Option<OrderDoor>,
    /// Snapshots that are taken and can be asked for; without, neither.
    pub snapshots: Option<Arc<Snapshots>>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))],
            is_open: false,
            token: None,
            web_config: None,
            notice: |_| {},
            hosts: Vec::new(),
            socket: None,
            socket_mode: 0o600,
            series: SeriesLimits::default(),
            stalls_after: Duration::MAX,
            patience: Patience::default(),
            orders: None,
            snapshots: None,
        }
    }
}

impl ServeOptions {
    /// Checks what can be known before anything is served.
    ///
    /// # Errors
    ///
    /// Returns that a token is too weak, that the web configuration file cannot be used, or that other machines would
    /// be served unasked without a token, a password or a certificate.
    pub fn check(&self) -> Result<(), ServeError> {
        self.doors().map(drop)
    }

    fn doors(&self) -> Result<Doors, ServeError> {
        if let Some(token) = &self.token
            && (token.len() < TOKEN_MIN || token.chars().any(char::is_whitespace))
        {
            return Err(ServeError::WeakToken { found: token.len() });
        }
        let exposed = self.listen.iter().find(|address| !address.ip().is_loopback());
        let is_alone = exposed.is_some() && self.token.is_none() && !self.is_open;
        let doors = Doors::open(self.web_config.as_deref(), self.notice, is_alone)?;
        match exposed {
            Some(&address) if is_alone && doors.guards().is_empty() => Err(ServeError::Exposed { address }),
            Some(_) | None => Ok(doors),
        }
    }
}

/// How long and how many clients are borne.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// Connections per listener.
    pub connections_max: usize,
    /// Connections of one address, or of one IPv6 network of 64 bits.
    pub connections_per_origin_max: usize,
    /// Bytes of answers that clients have not taken yet, per listener. A single answer may be larger.
    pub answer_bytes_max: usize,
    /// Time for a request's header, idle time before it included; and for a TLS handshake.
    pub header: Duration,
    /// Time without progress of an answer.
    pub stall: Duration,
    /// Age at which a connection is asked to end after the answer under way.
    pub connection: Duration,
    /// Further time until it is cut.
    pub farewell: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connections_max: 256,
            connections_per_origin_max: 128,
            answer_bytes_max: 128 << 20,
            header: Duration::from_secs(5),
            stall: Duration::from_secs(10),
            connection: Duration::from_secs(60),
            farewell: Duration::from_secs(30),
        }
    }
}

/// Connections that wait in the kernel to be let in; it may hold fewer.
const BACKLOG: u32 = 4_096;
/// Fewest characters of a token.
const TOKEN_MIN: usize = 16;

/// What could not be served, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else listens there.
    #[error("{address} is in use: stop the other program or choose another address with --listen")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// No interface has the address.
    #[error("no interface of this host has the address {address}: choose another with --listen")]
    NotHere {
        /// The address.
        address: SocketAddr,
    },
    /// Listening failed otherwise.
    #[error("cannot listen on {address}: choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Everybody could read, and nobody said they may.
    #[error(
        "{address} can be reached from other hosts: protect it with --token-file FILE or --web-config FILE, or say --open"
    )]
    Exposed {
        /// The address.
        address: SocketAddr,
    },
    /// The token could be guessed.
    #[error("the token is {found} characters long: give one of at least {TOKEN_MIN}, without spaces")]
    WeakToken {
        /// Its length.
        found: usize,
    },
    /// The web configuration file cannot be used.
    #[error(transparent)]
    WebConfig(#[from] WebConfigError),
    /// A daemon is there already.
    #[error("another daemon answers at {}: stop it or choose another socket with --socket", path.display())]
    Answered {
        /// The socket file.
        path: PathBuf,
    },
    /// Others could put their own socket in its place.
    #[error("others may write in {}: run chmod go-w on it or choose another socket with --socket", path.display())]
    SharedDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The folder of the socket is a link, or no folder.
    #[error("{} is not a folder itself: name the folder it points to, or another socket, with --socket", path.display())]
    NotADirectory {
        /// The folder.
        path: PathBuf,
    },
    /// Another user could put their own socket in its place.
    #[error("{} belongs to another user: run chown on it or choose another socket with --socket", path.display())]
    ForeignDirectory {
        /// The folder.
        path: PathBuf,
    },
    /// Something that is no socket has its name.
    #[error("{} is not a socket: remove it or choose another with --socket", path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// Making the socket failed otherwise.
    #[error("cannot make the socket {}: choose another with --socket", path.display())]
    Socket {
        /// The socket file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is being served. Serving ends when `shutdown` turns true or its sender goes away.
#[derive(Debug)]
pub struct Served {
    /// Addresses listened on, ports settled.
    pub addresses: Vec<SocketAddr>,
    /// Whether they are asked by `https://`.
    pub is_tls: bool,
    /// What keeps strangers out of them, in words; nothing if nothing does.
    pub guards: Vec<&'static str>,
    /// The socket file.
    pub socket: Option<PathBuf>,
    tasks: JoinSet<()>,
}

impl Served {
    /// Waits until serving has ended; at most a moment after the shutdown was asked for.
    pub async fn ended(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Starts to serve the latest publication of `receiver`.
///
/// Needs a tokio runtime with time and I/O. All listeners are bound when this returns.
///
/// # Errors
///
/// Returns a [`ServeError`] where an address or the socket cannot be had, or should not be; then nothing is served.
pub async fn serve(
    options: ServeOptions,
    receiver: watch::Receiver<Arc<Publication>>,
    forms: GraphForms,
    own: OwnMetrics,
    shutdown: watch::Receiver<bool>,
) -> Result<Served, ServeError> {
    let doors = Arc::new(options.doors()?);
    let is_tls = doors.is_tls();
    let token = options.token.as_ref().map(|_| "token");
    let guards = token.into_iter().chain(doors.guards()).collect();
    let mut listeners = Vec::new();
    for &address in &options.listen {
        listeners.push(listen(address)?);
    }
    let addresses: Vec<_> = listeners.iter().map(|(_, address)| *address).collect();
    let socket = match &options.socket {
        Some(path) => Some(socket::bind(path, options.socket_mode).await?),
        None => None,
    };

    let mut tasks = JoinSet::new();
    let state =
        Arc::new(routes::State::new(&options, doors, addresses.clone(), receiver.clone(), forms, own));
    if let Some(snapshots) = &options.snapshots {
        let (snapshots, notice) = (Arc::clone(snapshots), options.notice);
        tasks.spawn(accept::keep(snapshots, notice, receiver.clone(), shutdown.clone()));
    }
    tasks.spawn(accept::remember(Arc::clone(&state), receiver, shutdown.clone()));
    for (listener, _) in listeners {
        tasks.spawn(accept::tcp(listener, Arc::clone(&state), options.patience, shutdown.clone()));
    }
    if let Some(listener) = socket {
        tasks.spawn(accept::unix(listener, Arc::clone(&state), options.patience, shutdown));
    }
    Ok(Served { addresses, is_tls, guards, socket: options.socket, tasks })
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let refused = |source: io::Error| {
        // Other kinds of error have no better remedy than the general one.
        if source.kind() == io::ErrorKind::AddrInUse {
            ServeError::InUse { address }
        } else if source.kind() == io::ErrorKind::AddrNotAvailable {
            ServeError::NotHere { address }
        } else {
            ServeError::Listen { address, source }
        }
    };
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart need not wait for connections of the one before to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let listener = open().map_err(refused)?;
    let settled = listener.local_addr().map_err(refused)?;
    Ok((listener, settled))
}
