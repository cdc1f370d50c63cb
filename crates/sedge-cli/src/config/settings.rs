//! What the configuration means: every option with its type, checked against the others.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sedge::{
    ConfigError, Cookie, Cors, HttpCompression, PerMessageDeflate, Proxies, Server, ServerBuilder,
    Transport,
};

use sedge_sticky::forwarded::Header;
use sedge_sticky::{Network, Networks};

mod effects;
pub(crate) use effects::Operation;

use super::options::{Form, OPTIONS, Spec, find};
use super::units::{
    Compression, LogFormat, LogLevel, Mode, Setting, Shards, Size, Workers, quoted,
};
use super::{Problems, Source, Typed};
use crate::client_files;

/// The configuration of the command.
pub(crate) struct Settings {
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) path: String,
    /// Where the client's files are, if they are anywhere.
    pub(crate) client_dir: Option<PathBuf>,
    pub(crate) demo: bool,
    pub(crate) metrics: bool,
    pub(crate) node_name: Option<String>,
    pub(crate) drain_delay: Duration,
    pub(crate) drain_deadline: Duration,
    pub(crate) log_level: LogLevel,
    pub(crate) log_format: LogFormat,
    /// What only a cluster needs.
    pub(crate) cluster: ClusterSettings,
    /// What goes to the library.
    server: ServerSettings,
    /// The options as they were given, to be shown and to explain the library's objections.
    effective: Vec<Effective>,
    /// A service manager has opened sockets.
    activated: bool,
    /// What is not wrong, but perhaps not meant.
    remarks: Vec<String>,
}

/// The files for HTTPS.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The origin that stands for whichever asks.
const MIRROR: &str = "mirror";

/// How workers are run and found.
pub(crate) struct ClusterSettings {
    /// Somebody chose the addresses; otherwise a service manager's sockets take their place.
    pub(crate) listen_given: bool,
    pub(crate) listen_unix: Vec<PathBuf>,
    pub(crate) unix_mode: Mode,
    pub(crate) workers: Workers,
    pub(crate) node: u16,
    pub(crate) routing: sedge_sticky::Config,
    /// The method was given by the name that speaks of weights.
    weighted: bool,
    pub(crate) worker_ports: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
    /// Given, or the library's choice.
    run_dir: Option<PathBuf>,
    pub(crate) orphan_deadline: Duration,
}

struct ServerSettings {
    shards: Shards,
    transports: Vec<Transport>,
    allow_eio3: bool,
    ping_interval: Duration,
    ping_timeout: Duration,
    upgrade_timeout: Duration,
    connect_timeout: Duration,
    per_message_deflate: Compression,
    http_compression: Compression,
    secret: Option<String>,
    cors_origins: Vec<String>,
    cors_credentials: bool,
    cookie: Option<String>,
    max_payload: Size,
    outbox_limit: Size,
    slow_client_timeout: Duration,
    head_timeout: Duration,
    keep_alive_timeout: Duration,
    body_timeout: Duration,
    transfer_rate: Size,
}

/// One option as it is in effect.
struct Effective {
    spec: &'static Spec,
    /// As a TOML value.
    value: String,
    source: Source,
}

impl Settings {
    /// Reads what was typed.
    pub(crate) fn read(typed: Typed) -> Result<Settings, Problems> {
        let mut reader = Reader { typed: &typed, effective: Vec::new(), problems: Vec::new() };
        let settings = reader.settings();
        let Reader { effective, problems, .. } = reader;
        match settings {
            Some(settings) if problems.is_empty() => {
                let Typed { activated, remarks, .. } = typed;
                Ok(Settings { effective, activated, remarks, ..settings })
            }
            _ => Err(Problems(problems)),
        }
    }

    /// A server with these settings, not yet started.
    pub(crate) fn server(&self) -> ServerBuilder {
        let own = &self.server;
        let mut builder = Server::builder()
            .path(&*self.path)
            .transports(own.transports.iter().copied())
            .allow_eio3(own.allow_eio3)
            .ping_interval(own.ping_interval)
            .ping_timeout(own.ping_timeout)
            .upgrade_timeout(own.upgrade_timeout)
            .connect_timeout(own.connect_timeout)
            .per_message_deflate(deflate(own.per_message_deflate))
            .http_compression(compression(own.http_compression))
            .max_payload(own.max_payload.0)
            .outbox_bytes_max(own.outbox_limit.0)
            .slow_client_timeout(own.slow_client_timeout)
            .head_timeout(own.head_timeout)
            .trusted_proxies(self.proxies())
            .keep_alive_timeout(own.keep_alive_timeout)
            .body_timeout(own.body_timeout)
            .transfer_rate_min(own.transfer_rate.0);
        if let Shards::Count(count) = own.shards {
            builder = builder.shards(count);
        }
        if let Some(secret) = &own.secret {
            builder = builder.secret(secret.as_bytes());
        }
        if let Some(dir) = &self.client_dir {
            builder = builder.serve_client(dir);
        }
        if let Some(name) = &own.cookie {
            builder = builder.cookie(Cookie::new(name));
        }
        if !own.cors_origins.is_empty() {
            let has = |word| own.cors_origins.iter().any(|origin| origin == word);
            let cors = match (has(MIRROR), has("*")) {
                (true, _) => Cors::mirror(),
                (false, true) => Cors::any(),
                (false, false) => Cors::origins(&own.cors_origins),
            };
            builder = builder.cors(cors.credentials(own.cors_credentials));
        }
        builder
    }

    /// Whom the application is told as the client.
    fn proxies(&self) -> Proxies {
        let routing = &self.cluster.routing;
        Proxies {
            trusted: routing.trusted.clone(),
            trust_unix: routing.trust_unix,
            header: routing.forwarded,
        }
    }

    /// Whether nothing is listened on but the sockets of a service manager.
    pub(crate) fn is_activated_only(&self) -> bool {
        self.activated && !self.cluster.listen_given
    }

    /// Threads of one server.
    pub(crate) fn shards(&self) -> Shards {
        self.server.shards
    }

    /// What session ids are signed with, if it is given.
    pub(crate) fn secret(&self) -> Option<&str> {
        self.server.secret.as_deref()
    }

    /// The name of the cookie that holds the session id, if there is one.
    pub(crate) fn cookie(&self) -> Option<&str> {
        self.server.cookie.as_deref()
    }

    /// What URLs of the server begin with.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The run directory, if one was given.
    pub(crate) fn run_dir(&self) -> Option<&Path> {
        self.cluster.run_dir.as_deref()
    }

    /// Where a running cluster with these settings is found.
    pub(crate) fn run_dir_of_running(&self) -> PathBuf {
        let port = self.listen.first().map_or(0, SocketAddr::port);
        self.run_dir().map_or_else(|| sedge_cluster::default_run_dir(port), Path::to_owned)
    }

    /// Asks the library whether it agrees with its part.
    pub(crate) fn check(&self) -> Result<(), Problems> {
        self.server().check().map_err(|error| self.explain(&error))
    }

    /// The library's objection, with the places where the options it names were given.
    fn explain(&self, error: &ConfigError) -> Problems {
        let words = error.to_string();
        let mut problem = words.clone();
        for Effective { spec, source, .. } in &self.effective {
            let name = spec.name.replace('-', "_");
            let library = match spec.name {
                "outbox-limit" => "outbox_bytes_max",
                "transfer-rate" => "transfer_rate_min",
                "client-dir" => "serve_client",
                "cors-origin" | "cors-credentials" => "cors",
                _ => &name,
            };
            let mut named = words.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            if named.any(|word| word == library) && *source != Source::Default {
                let _ = write!(problem, "\n       given by {}", source.name(spec.name));
            }
        }
        Problems(vec![problem])
    }

    /// The configuration in effect as a TOML file, each option with its source; secrets are hidden.
    pub(crate) fn show(&self) -> String {
        let mut out = String::new();
        let mut group = "";
        for Effective { spec, value, source } in &self.effective {
            if group != spec.group {
                let gap = if group.is_empty() { "" } else { "\n" };
                group = spec.group;
                let _ = writeln!(out, "{gap}# {group}");
            }
            let line = match spec.form {
                Form::Hidden => format!("# {} = (hidden)", spec.name),
                _ => format!("{} = {value}", spec.name),
            };
            let place = match source {
                Source::Default => "default".to_owned(),
                Source::File { file, line } => format!("{file}:{line}"),
                named => named.name(spec.name),
            };
            let _ = writeln!(out, "{line:<44}# {place}");
        }
        out
    }
}

fn deflate(setting: Compression) -> Option<PerMessageDeflate> {
    let default = PerMessageDeflate::default();
    match setting {
        Compression::Off => None,
        Compression::On => Some(default),
        Compression::From(Size(threshold)) => Some(PerMessageDeflate { threshold, ..default }),
    }
}

fn compression(setting: Compression) -> Option<HttpCompression> {
    let default = HttpCompression::default();
    match setting {
        Compression::Off => None,
        Compression::On => Some(default),
        Compression::From(Size(threshold)) => Some(HttpCompression { threshold, ..default }),
    }
}

/// Reads option after option and collects what is wrong.
struct Reader<'t> {
    typed: &'t Typed,
    effective: Vec<Effective>,
    problems: Vec<String>,
}

impl Reader<'_> {
    /// All options. `None` if one that must have a value has none that can be read, which the
    /// problems then tell.
    fn settings(&mut self) -> Option<Settings> {
        // All of them are read before the first `?`, so that all problems are found.
        let listen = self.list("listen");
        let (certificate, key) = (self.one("tls-cert"), self.one("tls-key"));
        let path = self.one("path");
        let server = self.server_settings();
        let client_dir = self.one("client-dir");
        let (demo, metrics) = (self.one("demo"), self.one("metrics"));
        let node_name = self.one("node-name");
        let cluster = self.cluster_settings();
        let (drain_delay, drain_deadline) = (self.one("drain-delay"), self.one("drain-deadline"));
        let (log_level, log_format) = (self.one("log-level"), self.one("log-format"));
        let tls = self.tls(certificate, key);
        self.in_table_order();
        Some(Settings {
            listen: self.not_empty("listen", listen),
            tls,
            path: path?,
            client_dir: client_dir.or_else(client_files::search),
            demo: demo?,
            metrics: metrics?,
            node_name,
            drain_delay: drain_delay?,
            drain_deadline: drain_deadline?,
            log_level: log_level?,
            log_format: log_format?,
            cluster: cluster?,
            server: server?,
            effective: Vec::new(),
            activated: false,
            remarks: Vec::new(),
        })
    }

    fn cluster_settings(&mut self) -> Option<ClusterSettings> {
        let listen_given = self.typed.source("listen") != Source::Default;
        let (listen_unix, unix_mode) = (self.list("listen-unix"), self.one("unix-mode"));
        let (workers, node) = (self.one("workers"), self.one("node"));
        let method = find("method").and_then(|spec| self.typed.get(spec));
        let weighted = method.is_some_and(|given| given.values == ["weighted"]);
        let (method, hash) = (self.one("method"), self.one("address-hash"));
        let trusted: Vec<Network> = self.list("trusted-proxy");
        let (forwarded, proxy_protocol) = (self.one("forwarded"), self.one("proxy-protocol"));
        let (worker_ports, admin) = (self.one("worker-ports"), self.one("admin"));
        let (run_dir, orphan_deadline) = (self.one("run-dir"), self.one("orphan-deadline"));
        let routing = sedge_sticky::Config {
            method: method?,
            hash,
            trusted: self.networks(trusted),
            forwarded: forwarded?,
            proxy_protocol: proxy_protocol?,
            ..sedge_sticky::Config::default()
        };
        for (name, given) in [
            ("forwarded", routing.forwarded != Header::None),
            ("proxy-protocol", routing.proxy_protocol),
        ] {
            if given && routing.trusted == Networks::NONE {
                let name = self.typed.source(name).name(name);
                self.problems.push(format!("{name} has no effect without trusted-proxy"));
            }
        }
        Some(ClusterSettings {
            listen_given,
            listen_unix,
            unix_mode: unix_mode?,
            workers: workers?,
            node: node?,
            routing,
            weighted,
            worker_ports,
            admin,
            run_dir,
            orphan_deadline: orphan_deadline?,
        })
    }

    fn networks(&mut self, networks: Vec<Network>) -> Networks {
        Networks::new(networks).unwrap_or_else(|error| {
            let name = self.typed.source("trusted-proxy").name("trusted-proxy");
            self.problems.push(format!("{name}: {error}"));
            Networks::NONE
        })
    }

    fn server_settings(&mut self) -> Option<ServerSettings> {
        let shards = self.one("shards");
        let transports = self.list("transports");
        let allow_eio3 = self.one("allow-eio3");
        let (ping_interval, ping_timeout) = (self.one("ping-interval"), self.one("ping-timeout"));
        let (upgrade, connect) = (self.one("upgrade-timeout"), self.one("connect-timeout"));
        let deflate = self.one("per-message-deflate");
        let http_compression = self.one("http-compression");
        let secret = self.secret();
        let (cors_origins, credentials) = (self.list("cors-origin"), self.one("cors-credentials"));
        let cookie = self.one("cookie");
        let (max_payload, outbox_limit) = (self.one("max-payload"), self.one("outbox-limit"));
        let slow_client_timeout = self.one("slow-client-timeout");
        let (head_timeout, body_timeout) = (self.one("head-timeout"), self.one("body-timeout"));
        let keep_alive_timeout = self.one("keep-alive-timeout");
        let transfer_rate = self.one("transfer-rate");
        if credentials == Some(true) && cors_origins.is_empty() {
            let name = self.typed.source("cors-credentials").name("cors-credentials");
            self.problems.push(format!("{name} has no effect without cors-origin"));
        }
        Some(ServerSettings {
            shards: shards?,
            transports,
            allow_eio3: allow_eio3?,
            ping_interval: ping_interval?,
            ping_timeout: ping_timeout?,
            upgrade_timeout: upgrade?,
            connect_timeout: connect?,
            per_message_deflate: deflate?,
            http_compression: http_compression?,
            secret,
            cors_origins,
            cors_credentials: credentials?,
            cookie,
            max_payload: max_payload?,
            outbox_limit: outbox_limit?,
            slow_client_timeout: slow_client_timeout?,
            head_timeout: head_timeout?,
            keep_alive_timeout: keep_alive_timeout?,
            body_timeout: body_timeout?,
            transfer_rate: transfer_rate?,
        })
    }

    /// An option with one value; `None` if it has none, or if it cannot be read.
    fn one<T: Setting>(&mut self, name: &'static str) -> Option<T> {
        let (mut values, source) = self.read::<T>(name);
        let value = values.pop()?;
        self.note(name, value.show(), source);
        Some(value)
    }

    /// An option with any number of values.
    fn list<T: Setting>(&mut self, name: &'static str) -> Vec<T> {
        let (values, source) = self.read::<T>(name);
        if !values.is_empty() || source != Source::Default {
            let shown: Vec<String> = values.iter().map(Setting::show).collect();
            self.note(name, format!("[{}]", shown.join(", ")), source);
        }
        values
    }

    fn read<T: Setting>(&mut self, name: &'static str) -> (Vec<T>, Source) {
        let Some(given) = find(name).and_then(|spec| self.typed.get(spec)) else {
            return (Vec::new(), Source::Default);
        };
        let mut values = Vec::with_capacity(given.values.len());
        for text in &given.values {
            match T::parse(text) {
                Ok(value) => values.push(value),
                Err(problem) => {
                    self.problems.push(format!("{}: {problem}", given.source.name(name)));
                }
            }
        }
        (values, given.source)
    }

    fn note(&mut self, name: &'static str, value: String, source: Source) {
        if let Some(spec) = find(name) {
            self.effective.push(Effective { spec, value, source });
        }
    }

    /// The effective options are noted as they are read; they are shown as the help has them.
    fn in_table_order(&mut self) {
        let place = |name| OPTIONS.iter().position(|spec| spec.name == name);
        self.effective.sort_by_key(|effective| place(effective.spec.name));
    }

    fn not_empty<T>(&mut self, name: &str, values: Vec<T>) -> Vec<T> {
        if values.is_empty() && self.problems.is_empty() {
            let name = self.typed.source(name).name(name);
            self.problems.push(format!("{name}: at least one value is needed"));
        }
        values
    }

    fn tls(&mut self, certificate: Option<PathBuf>, key: Option<PathBuf>) -> Option<TlsFiles> {
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => self.half("tls-cert", "tls-key"),
            (None, Some(_)) => self.half("tls-key", "tls-cert"),
        }
    }

    fn half(&mut self, given: &str, missing: &str) -> Option<TlsFiles> {
        let given = self.typed.source(given).name(given);
        self.problems.push(format!("{given} needs {missing} too"));
        None
    }

    /// The secret, from its own option or from the file that `secret-file` names.
    fn secret(&mut self) -> Option<String> {
        let (mut secrets, source) = self.read::<String>("secret");
        let direct = secrets.pop();
        if direct.is_some() {
            self.note("secret", String::new(), source.clone());
        }
        let file: Option<PathBuf> = self.one("secret-file");
        let (Some(path), None) = (&file, &direct) else {
            if file.is_some() {
                let other = self.typed.source("secret-file").name("secret-file");
                let own = source.name("secret");
                self.problems.push(format!("{own} and {other} contradict each other: give one"));
            }
            return direct;
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                let name = self.typed.source("secret-file").name("secret-file");
                let path = quoted(&path.to_string_lossy());
                self.problems.push(format!("{name}: cannot read {path}: {error}"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
