//! The decision: which target gets a request, and why.
//!
//! What ties a request to a target is looked for in this order:
//!
//! 1. the **session id** in the query: a self-routing one names its worker, another one may have been
//!    [learned](Router::learn);
//! 2. the configured **cookie**;
//! 3. the **hash** of the client's address, if one is configured;
//! 4. nothing: the **method** spreads it.
//!
//! A session that a target has stays with it while it drains; new sessions go past it, whatever
//! their cookie or address says. A session id that leads nowhere is no error here. The request goes
//! where steps 2 to 4 send it, and the server there says that the session is unknown; [`Route::sid`]
//! tells why it led nowhere.

use std::net::IpAddr;
use std::time::Duration;

use sedge_protocol::cookie::{CookieError, SetCookie};
use sedge_protocol::request::Parameter;
use sedge_protocol::request::forwarded::{Header, Proxies};
use sedge_protocol::request::head::{self, Head, Limits, Scan};
use sedge_protocol::request::network::Networks;
use sedge_protocol::sid::{Owner, SessionId, SidCodec};
use thiserror::Error;

use crate::cookie::{CookieKey, Tags, read_tag};
use crate::hash::ketama::Ring;
use crate::hash::{AddressText, Hash, ip_hash, rendezvous};
use crate::learned::Learned;
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, LEARNED_MAX, RETRY_AFTER};
use crate::method::{self, Method};
use crate::proxy;
use crate::target::{
    Availability, Entry, HomeOf, Load, Purpose, Report, Table, Target, TargetError, TargetId,
};

/// How a router decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// Reads the cluster's session ids. `None` if there are none, with only Node servers behind.
    pub sids: Option<SidCodec>,
    /// For sessions that nothing ties to a target.
    pub method: Method,
    /// Ties clients to targets by their address, before the method. `None` by default: clients
    /// behind one address would all go to one target.
    pub hash: Option<Hash>,
    /// Ties clients to targets by a cookie.
    pub cookie: Option<CookieKey>,
    /// What the values of sticky cookies are made with; without it everybody can compute them.
    pub cookie_secret: Vec<u8>,
    /// Who is believed when it says for whom it speaks.
    pub trusted: Networks,
    /// Whether a peer without an address (of a Unix socket) is believed. Default true: who may
    /// connect there is decided by the file's permissions.
    pub trust_unix: bool,
    /// Where trusted proxies say for whom they speak.
    pub forwarded: Header,
    /// Whether connections of trusted peers begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Bytes of a request head.
    pub head_bytes_max: usize,
    /// Sessions of other servers that are remembered.
    pub learned_max: usize,
    /// What a client is told to wait if there is no target.
    pub retry_after: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            sids: None,
            method: Method::default(),
            hash: None,
            cookie: None,
            cookie_secret: Vec::new(),
            trusted: Networks::NONE,
            trust_unix: true,
            forwarded: Header::None,
            proxy_protocol: false,
            head_bytes_max: HEAD_BYTES_MAX,
            learned_max: LEARNED_MAX,
            retry_after: RETRY_AFTER,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The cookie is not one.
    #[error(transparent)]
    Cookie(#[from] CookieError),
    /// A PROXY header or a header line is to be believed, and nobody is trusted to send it.
    #[error("proxies are to be believed, but none is trusted")]
    NobodyTrusted,
    /// More than 2^32 - 1 sessions are to be remembered.
    #[error("too many sessions to remember")]
    LearnedMax,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening<'a> {
    /// Too few to decide: look again when there are more.
    Partial,
    /// A request.
    Request(Request<'a>),
    /// No request, and no more bytes could make it one. It can still be [routed](Router::decide) by its
    /// address, so that a server answers it in its own words; TLS has to be.
    NoHead {
        /// What can be routed by.
        request: Request<'a>,
        /// What is wrong.
        reason: head::Invalid,
    },
    /// The PROXY header that is required is not there. Nobody can say who this is: close.
    NoProxyHeader(proxy::Invalid),
}

/// What a decision is made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// The head; `None` if there is none that could be read.
    pub head: Option<Head<'a>>,
    /// Who has the connection, or who is said to have it by a trusted PROXY header. `None` for
    /// Unix sockets.
    pub peer: Option<IpAddr>,
    /// Bytes in front of the head that are not the server's: the PROXY header.
    pub proxy_len: usize,
    /// Bytes of the head.
    pub head_len: usize,
}

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A target gets it.
    To(Route),
    /// No target can take it: answer 503 with `Retry-After`.
    NoTarget {
        /// How long the client is to wait.
        retry_after: Duration,
    },
}

/// Who gets a request, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Who gets it.
    pub target: TargetId,
    /// What tied it to that target.
    pub reason: Reason,
    /// What became of the session id.
    pub sid: SidFinding,
    /// Whether the answer has to carry [`Router::set_cookie`] of the target.
    pub set_cookie: bool,
}

/// What ties a request to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The session id names it.
    BySid,
    /// It was learned that the session is there.
    Learned,
    /// The cookie.
    Cookie,
    /// The client's address.
    Hash,
    /// Nothing: the method chose it. For a new session it counts as one more until a report.
    Method,
}

/// What became of the session id in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SidFinding {
    /// There is none: the request opens a session, or is no Engine.IO request.
    Absent,
    /// It led to the target.
    Known,
    /// It is of this cluster, and its worker is gone from the table or down.
    Gone(Owner),
    /// It is of this cluster, and no target is on its node.
    OtherNode(Owner),
    /// It is neither of this cluster (forged, foreign, of a forgotten secret) nor learned, or the
    /// target that was learned is gone or down.
    Unknown,
    /// It has another form than 20 characters of base64url.
    Malformed,
    /// There is more than one, so none is believed.
    Repeated,
}

/// How often what was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// [`Reason::BySid`].
    pub by_sid: u64,
    /// [`Reason::Learned`].
    pub learned: u64,
    /// [`Reason::Cookie`].
    pub cookie: u64,
    /// [`Reason::Hash`].
    pub hash: u64,
    /// [`Reason::Method`].
    pub method: u64,
    /// [`Decision::NoTarget`].
    pub no_target: u64,
    /// Session ids that led nowhere: [`SidFinding::Gone`] and everything below it there.
    pub lost_sids: u64,
    /// Learned sessions that had to make room for others.
    pub evicted: u64,
}

/// What is known of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetStatus<'a> {
    /// Which one.
    pub id: TargetId,
    /// Its name.
    pub name: &'a str,
    /// Its weight.
    pub weight: u32,
    /// What it may be given.
    pub availability: Availability,
    /// What it has.
    pub load: Load,
}

/// Decides for a table of targets. It knows no connections, reads no clock and draws no random
/// numbers; whoever has it gives it all of these.
#[derive(Clone, Debug)]
pub struct Router {
    config: Config,
    proxies: Proxies,
    /// The cookie that ties clients to targets, if the balancer gives it out.
    cookie: Option<SetCookie>,
    tags: Tags,
    table: Table,
    ring: Ring,
    learned: Learned,
    turn: usize,
    counters: Counters,
}

fn canonical(peer: Option<IpAddr>) -> Option<IpAddr> {
    peer.map(|peer| peer.to_canonical())
}

/// The table.
impl Router {
    /// A router without targets.
    pub fn new(config: Config) -> Result<Router, ConfigError> {
        let cookie = match &config.cookie {
            Some(cookie) => cookie.compile()?,
            None => None,
        };
        let believes = config.proxy_protocol || config.forwarded != Header::None;
        if believes && config.trusted.is_empty() && !config.trust_unix {
            return Err(ConfigError::NobodyTrusted);
        }
        if u32::try_from(config.learned_max).is_err() {
            return Err(ConfigError::LearnedMax);
        }
        let proxies = Proxies {
            trusted: config.trusted.clone(),
            trust_unix: config.trust_unix,
            header: config.forwarded,
        };
        Ok(Router {
            proxies,
            cookie,
            tags: Tags::new(&config.cookie_secret),
            table: Table::default(),
            ring: Ring::default(),
            learned: Learned::new(config.learned_max),
            turn: 0,
            counters: Counters::default(),
            config,
        })
    }

    /// Adds a target, in the lowest free slot.
    pub fn add(&mut self, target: Target) -> Result<TargetId, TargetError> {
        let (seed, tag) = (rendezvous::seed(target.name()), self.tags.tag(target.name()));
        let id = self.table.add(target, seed, tag)?;
        self.changed();
        Ok(id)
    }

    /// Removes a target; false if it is not there (any more).
    pub fn remove(&mut self, id: TargetId) -> bool {
        let removed = self.table.remove(id);
        self.changed();
        removed
    }

    fn changed(&mut self) {
        if self.config.hash == Some(Hash::Consistent) {
            let servers = self.table.iter();
            self.ring = Ring::new(servers.map(|e| (e.name.as_str(), e.weight, e.id.slot() as u16)));
        }
        // The targets begin anew together: one that comes later would be owed nothing.
        self.table.iter_mut().for_each(|entry| entry.owed = 0);
    }

    /// Sets what a target may be given; false if it is not there. What it has stays known.
    pub fn set_availability(&mut self, id: TargetId, availability: Availability) -> bool {
        let entry = self.table.get_mut(id);
        entry.map(|entry| entry.availability = availability).is_some()
    }

    /// A target was replaced by a successor of the same name, weight and home, whose sessions begin
    /// anew: its load and what was learned of it are forgotten. Returns the id that is valid from
    /// now on; reports under the old one are ignored. Its availability stays as it is.
    pub fn restarted(&mut self, id: TargetId) -> Option<TargetId> {
        self.table.restart(id)
    }

    /// Takes a target's report of its sessions; false if it is not there.
    pub fn report(&mut self, id: TargetId, report: Report) -> bool {
        self.table.get_mut(id).map(|entry| entry.load.report(report)).is_some()
    }

    /// A target has opened a session. For those who see sessions come and go themselves, instead of
    /// [reports](Router::report); whatever was assigned and came to nothing must be told by
    /// [`abandoned`](Router::abandoned) then.
    pub fn opened(&mut self, id: TargetId) {
        if let Some(entry) = self.table.get_mut(id) {
            entry.load.opened();
        }
    }

    /// A target has closed a session.
    pub fn closed(&mut self, id: TargetId) {
        if let Some(entry) = self.table.get_mut(id) {
            entry.load.closed();
        }
    }

    /// What was assigned by method to a target did not become a session.
    pub fn abandoned(&mut self, id: TargetId) {
        if let Some(entry) = self.table.get_mut(id) {
            entry.load.abandoned();
        }
    }

    /// Remembers that a target has this session. For ids that do not say it themselves.
    pub fn learn(&mut self, sid: SessionId, id: TargetId) {
        if self.table.get(id).is_some() {
            self.learned.insert(sid, id);
        }
    }

    /// Forgets a session that has ended; false if it was not known.
    pub fn forget(&mut self, sid: &SessionId) -> bool {
        self.learned.remove(sid)
    }

    /// Sessions that are remembered.
    pub fn learned_count(&self) -> usize {
        self.learned.len()
    }

    /// What is known of a target.
    pub fn status(&self, id: TargetId) -> Option<TargetStatus<'_>> {
        self.table.get(id).map(TargetStatus::from)
    }

    /// All targets in the order of their slots.
    pub fn statuses(&self) -> impl Iterator<Item = TargetStatus<'_>> {
        self.table.iter().map(TargetStatus::from)
    }

    /// How often what was decided.
    pub fn counters(&self) -> Counters {
        Counters { evicted: self.learned.evicted(), ..self.counters }
    }

    /// The value of `Set-Cookie` that ties a client to the target; `None` if no sticky cookie is
    /// configured, or the target is not there.
    pub fn set_cookie(&self, id: TargetId) -> Option<String> {
        let tag = self.table.get(id)?.tag;
        self.cookie.as_ref()?.with(&format!("{tag:016x}"))
    }
}

impl<'a> From<&'a Entry> for TargetStatus<'a> {
    fn from(entry: &'a Entry) -> Self {
        let Entry { id, ref name, weight, availability, load, .. } = *entry;
        TargetStatus { id, name, weight, availability, load }
    }
}

/// The decision.
impl Router {
    /// Reads the first bytes of a connection of this peer (`None` for Unix sockets), with the PROXY header
    /// if one is required. It allocates nothing.
    pub fn read<'a>(&self, bytes: &'a [u8], peer: Option<IpAddr>) -> Opening<'a> {
        let mut request = Request { peer: canonical(peer), ..Request::default() };
        if self.config.proxy_protocol && self.proxies.trusts(request.peer) {
            match proxy::parse(bytes) {
                proxy::State::Partial => return Opening::Partial,
                proxy::State::Invalid(reason) => return Opening::NoProxyHeader(reason),
                proxy::State::Complete { source, len } => {
                    request.proxy_len = len;
                    request.peer = source.map(|source| source.ip()).or(request.peer);
                }
            }
        }
        self.read_head(bytes, request)
    }

    /// Reads a connection whose PROXY header has been taken already: `peer` is whom it named.
    pub fn read_behind_proxy<'a>(&self, bytes: &'a [u8], peer: Option<IpAddr>) -> Opening<'a> {
        self.read_head(bytes, Request { peer: canonical(peer), ..Request::default() })
    }

    fn read_head<'a>(&self, bytes: &'a [u8], request: Request<'a>) -> Opening<'a> {
        let rest = bytes.get(request.proxy_len..).unwrap_or_default();
        let limits = Limits { bytes_max: self.config.head_bytes_max, headers_max: HEADERS_MAX };
        match head::scan(rest, limits) {
            Scan::Partial => Opening::Partial,
            Scan::Complete(layout) => {
                let (head, head_len) = (Some(layout.head(rest)), layout.len());
                Opening::Request(Request { head, head_len, ..request })
            }
            Scan::Invalid(reason) => Opening::NoHead { request, reason },
        }
    }

    /// The client's address, as far as those who stand in front can be believed.
    pub fn client(&self, request: &Request<'_>) -> Option<IpAddr> {
        let forwarded =
            |head: Head<'_>| self.proxies.client(|name| head.values(name), request.peer).address;
        request.head.and_then(forwarded).or(request.peer)
    }

    /// Decides, and counts what it assigns. `random` must be 64 random bits; only some methods look at
    /// them. It allocates nothing.
    pub fn decide(&mut self, request: &Request<'_>, random: u64) -> Decision {
        let decision = self.choose(request, random);
        let counter = match &decision {
            Decision::NoTarget { .. } => &mut self.counters.no_target,
            Decision::To(route) => {
                if !matches!(route.sid, SidFinding::Absent | SidFinding::Known) {
                    self.counters.lost_sids += 1;
                }
                match route.reason {
                    Reason::BySid => &mut self.counters.by_sid,
                    Reason::Learned => &mut self.counters.learned,
                    Reason::Cookie => &mut self.counters.cookie,
                    Reason::Hash => &mut self.counters.hash,
                    Reason::Method => &mut self.counters.method,
                }
            }
        };
        *counter += 1;
        decision
    }

    fn choose(&mut self, request: &Request<'_>, random: u64) -> Decision {
        let to =
            |target, reason, sid| Decision::To(Route { target, reason, sid, set_cookie: false });
        let sid = request.head.map(|head| head.sid()).unwrap_or_default();
        let sid = match self.by_sid(sid) {
            Ok((target, reason)) => return to(target, reason, SidFinding::Known),
            Err(finding) => finding,
        };
        let purpose = match sid {
            SidFinding::Absent => Purpose::New,
            _ => Purpose::Existing,
        };
        if let Some(target) = request.head.and_then(|head| self.by_cookie(&head, purpose)) {
            self.assign(target, purpose);
            return to(target, Reason::Cookie, sid);
        }
        let set_cookie = self.cookie.is_some();
        let hashed = self.config.hash.and_then(|hash| {
            let address = self.client(request)?;
            self.by_hash(hash, address, purpose)
        });
        let chosen = match hashed {
            Some(target) => Some((target, Reason::Hash)),
            None => self.by_method(purpose, random).map(|target| (target, Reason::Method)),
        };
        let Some((target, reason)) = chosen else {
            return Decision::NoTarget { retry_after: self.config.retry_after };
        };
        self.assign(target, purpose);
        Decision::To(Route { target, reason, sid, set_cookie })
    }

    fn assign(&mut self, target: TargetId, purpose: Purpose) {
        if let (Purpose::New, Some(entry)) = (purpose, self.table.get_mut(target)) {
            entry.load.assign();
        }
    }

    fn by_sid(&mut self, sid: Parameter<'_>) -> Result<(TargetId, Reason), SidFinding> {
        let text = match sid {
            Parameter::Absent => return Err(SidFinding::Absent),
            Parameter::Repeated => return Err(SidFinding::Repeated),
            Parameter::Once(text) => text,
        };
        let sid = SessionId::parse(text.as_bytes()).ok_or(SidFinding::Malformed)?;
        session(self.config.sids.as_ref(), &self.table, &mut self.learned, &sid)
    }

    fn by_cookie(&mut self, head: &Head<'_>, purpose: Purpose) -> Option<TargetId> {
        let Router { config, table, learned, .. } = self;
        let key = config.cookie.as_ref()?;
        match key {
            CookieKey::Sticky(_) => key.values(head).filter_map(read_tag).find_map(|tag| {
                let known = table.iter().find(|entry| entry.tag == tag);
                known.filter(|entry| entry.takes(purpose)).map(|entry| entry.id)
            }),
            CookieKey::SessionId { .. } => {
                key.values(head).filter_map(SessionId::parse).find_map(|sid| {
                    let found = session(config.sids.as_ref(), table, learned, &sid);
                    let entry = table.get(found.ok()?.0)?;
                    entry.takes(purpose).then_some(entry.id)
                })
            }
        }
    }

    fn by_hash(&self, hash: Hash, address: IpAddr, purpose: Purpose) -> Option<TargetId> {
        let takes = |entry: &&Entry| entry.takes(purpose);
        let by_rendezvous = || {
            let drawing = self.table.iter().filter(takes);
            rendezvous::best(address, drawing.map(|e| (e.seed, e.weight, e.id)))
        };
        match hash {
            Hash::Rendezvous => by_rendezvous(),
            Hash::Consistent => {
                let text = AddressText::new(address);
                let entries = self.ring.servers(text.as_bytes());
                let mut entries = entries.filter_map(|slot| self.table.at(usize::from(slot)));
                entries.find(takes).map(|entry| entry.id)
            }
            Hash::IpHash => {
                let sum = self.table.weight_sum();
                let mut places = ip_hash::hashes(address).filter_map(|hash| hash.checked_rem(sum));
                let found = places.find_map(|place| self.at_weight(place).filter(takes));
                // nginx goes on in turn, which would give a client another target each time.
                found.map(|entry| entry.id).or_else(by_rendezvous)
            }
        }
    }

    /// The target at a place when each takes as many places as its weight.
    fn at_weight(&self, mut place: u32) -> Option<&Entry> {
        self.table.iter().find(|entry| match place.checked_sub(entry.weight) {
            Some(rest) => {
                place = rest;
                false
            }
            None => true,
        })
    }

    fn by_method(&mut self, purpose: Purpose, random: u64) -> Option<TargetId> {
        let Router { config, table, turn, .. } = self;
        let new = method::pick(config.method, table, Purpose::New, turn, random);
        match purpose {
            Purpose::New => new,
            // Nobody knows the session, so one that drains can say so as well as any.
            Purpose::Existing => {
                new.or_else(|| method::pick(config.method, table, Purpose::Existing, turn, random))
            }
        }
    }
}

/// The target that has a session.
fn session(
    sids: Option<&SidCodec>,
    table: &Table,
    learned: &mut Learned,
    sid: &SessionId,
) -> Result<(TargetId, Reason), SidFinding> {
    if let Some(owner) = sids.and_then(|codec| codec.decode(sid)) {
        return match table.home_of(owner.node, owner.worker) {
            HomeOf::Target(entry) if entry.takes(Purpose::Existing) => {
                Ok((entry.id, Reason::BySid))
            }
            HomeOf::Target(_) | HomeOf::NoWorker => Err(SidFinding::Gone(owner)),
            HomeOf::NoNode => Err(SidFinding::OtherNode(owner)),
        };
    }
    let target = learned.get(sid).ok_or(SidFinding::Unknown)?;
    match table.get(target) {
        Some(entry) if entry.takes(Purpose::Existing) => Ok((target, Reason::Learned)),
        // It is down, and may come back with its sessions.
        Some(_) => Err(SidFinding::Unknown),
        None => {
            learned.remove(sid);
            Err(SidFinding::Unknown)
        }
    }
}

#[cfg(test)]
mod tests;
