//! Why the command ends with something else than success.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use sedge_cluster::ClusterError;

use crate::config::Problems;

/// Why the command cannot do what it is told; the words are for whoever started it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration is wrong.
    Config(Problems),
    /// The certificate or its key cannot be used.
    Tls(String),
    /// The threads, the event loop or the signal handlers could not be made.
    Start(String),
    /// What served has failed.
    Ended(String),
    /// An address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The cluster cannot be run.
    Cluster(ClusterError),
    /// A running cluster cannot be asked.
    Control(sedge_cluster::control::ControlError),
}

impl Failure {
    /// 2 for what the caller has to write differently, 1 for everything else.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Config(_) | Failure::Tls(_) => ExitCode::from(2),
            Failure::Start(_)
            | Failure::Ended(_)
            | Failure::Listen(..)
            | Failure::Cluster(_)
            | Failure::Control(_) => ExitCode::FAILURE,
        }
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Listen { address, source } => match address.parse() {
                Ok(address) => Failure::Listen(address, source),
                Err(_) => Failure::Cluster(ClusterError::Listen { address, source }),
            },
            error => Failure::Cluster(error),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Failure::Config(problems)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Config(problems) => problems.fmt(f),
            Failure::Tls(problem) => write!(f, "TLS: {problem}"),
            Failure::Start(problem) | Failure::Ended(problem) => f.write_str(problem),
            Failure::Cluster(error) => error.fmt(f),
            Failure::Control(error) => error.fmt(f),
            Failure::Listen(address, error) => {
                write!(f, "cannot listen on {address}: {error}{}", hint(*address, error))
            }
        }
    }
}

/// What can be done if an address cannot be listened on.
fn hint(address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "\n       Another program listens there; `ss -ltnp 'sport = :{port}'` says which. \
             Choose another address with --listen, or port 0 for a free one"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "\n       Port {port} is reserved for the system: choose one from 1024 on with --listen, \
             or give the program the right (`setcap cap_net_bind_service=+ep`)"
        ),
        io::ErrorKind::AddrNotAvailable => {
            "\n       This machine has no such address; 0.0.0.0 and [::] mean all it has".to_owned()
        }
        _ => String::new(),
    }
}
