//! What rules can ask of a connection or request, in one snapshot: of either, who it is from and where it goes; of a
//! request its head as well.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::slice::from_ref;
use std::sync::Arc;

use super::Truth;
use super::access::{Access, Client};
use super::pattern::Pattern;
use super::request::{Head, RequestAccess};
use super::rule::Attribute;
use super::token::Claims;
use crate::identity::Identity;
use crate::route::{Fields, field};
use crate::snapshot::Snapshot;
use crate::workload::Workload;

/// What rules can ask of an access or a request, in one snapshot.
pub(super) struct Seen<'a> {
    /// Where it comes from, if that is known.
    pub(super) source: Option<IpAddr>,
    /// Where it was first sent from, if that is known.
    pub(super) remote: Option<IpAddr>,
    /// The address and port that are reached.
    pub(super) destination: SocketAddr,
    identity: Option<&'a Identity>,
    workload: Option<&'a Workload>,
    /// The identity, and again in the mesh's own trust domain where it is of an alias of that.
    principals: Vec<Arc<str>>,
    account: Option<Arc<str>>,
    trust_domain: Option<Arc<str>>,
    /// None at layer 4, which does not look.
    sni: Option<Option<Arc<str>>>,
    head: Option<SeenHead<'a>>,
}

/// What an attribute is.
pub(super) enum Told<'a> {
    /// All of these, or nothing.
    Texts(&'a [Arc<str>]),
    /// All of these, or nothing, since a token says so.
    Claim(Vec<Arc<str>>),
    /// A list.
    List(List<'a>),
    /// It is a label of somebody proven whom the snapshot does not show (yet).
    NotYet,
    /// It takes a look at what is not looked at here.
    Never,
}

/// The head of a request as rules see it.
struct SeenHead<'a> {
    method: Option<Arc<str>>,
    hosts: Vec<Arc<str>>,
    path: Option<Arc<str>>,
    claims: Option<&'a Claims>,
    fields: &'a dyn Lists,
}

/// The fields of a request, whatever holds them.
pub(super) trait Lists {
    /// The values of the field `name`, if there is one.
    fn list<'a>(&'a self, name: &'a str) -> Option<List<'a>>;
}

/// [`Lists`] of any [`Fields`].
pub(super) struct Of<'a, F: ?Sized>(pub(super) &'a F);

impl<F: Fields + ?Sized> Lists for Of<'_, F> {
    fn list<'a>(&'a self, name: &'a str) -> Option<List<'a>> {
        // The crumbs of a cookie are no elements.
        Some(List { whole: field(self.0, name)?, elements: name != "cookie" })
    }
}

/// The value of a field, which may be a list (RFC 9110 section 5.6.1).
pub(super) struct List<'a> {
    whole: Cow<'a, [u8]>,
    elements: bool,
}

impl List<'_> {
    /// The whole and its elements, as far as they are text.
    pub(super) fn texts(&self) -> impl Iterator<Item = Arc<str>> {
        let elements = self.whole.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|_| self.elements);
        elements.chain([&*self.whole]).map(|text| String::from_utf8_lossy(text).into())
    }

    /// Whether `pattern` describes it. If it describes not the whole but an element of it, nobody can tell: who reads
    /// the field may take the one that he likes.
    pub(super) fn is(&self, pattern: &Pattern) -> Truth {
        let mut elements = self.whole.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        match pattern.matches(&self.whole) {
            true => Truth::True,
            false if self.elements && elements.any(|element| pattern.matches(element)) => Truth::Unknown,
            false => Truth::False,
        }
    }
}

impl<'a> Seen<'a> {
    /// What layer 4 sees of `access`.
    pub(super) fn new(snapshot: &'a Snapshot, access: &'a Access) -> Self {
        Self::of_client(snapshot, &access.client, access.address)
    }

    /// What a waypoint sees of `request`, whose fields are `fields`.
    pub(super) fn of_request<F: ?Sized>(
        snapshot: &'a Snapshot,
        request: &RequestAccess<'a, F>,
        fields: &'a dyn Lists,
    ) -> Self {
        let seen = Self::of_client(snapshot, request.client, request.destination);
        Self {
            remote: request.remote.map(|address| address.to_canonical()).or(seen.source),
            sni: Some(request.sni.map(|name| name.to_ascii_lowercase().into())),
            head: request.head.as_ref().map(|head| SeenHead::new(head, fields)),
            ..seen
        }
    }

    fn of_client(snapshot: &'a Snapshot, client: &'a Client, destination: SocketAddr) -> Self {
        let workload = client.workload(snapshot);
        let (source, identity) = match client {
            Client::Pod(_) => (workload.and_then(|w| address_towards(w, destination)), workload.map(|w| &w.identity)),
            Client::Proven(address, identity) => (Some(*address), Some(identity)),
            Client::Stranger(address) | Client::Node(address) => (Some(*address), None),
        };
        let trust = &snapshot.mesh.trust_domains;
        let mut principals = Vec::new();
        if let Some(Identity { trust_domain, namespace, service_account }) = identity {
            let alias = trust.accepts(trust_domain) && *trust_domain != trust.own;
            for domain in std::iter::once(trust_domain).chain(alias.then_some(&trust.own)) {
                principals.push(format!("{domain}/ns/{namespace}/sa/{service_account}").into());
            }
        }
        let account = identity.map(|id| format!("{}/{}", id.namespace, id.service_account).into());
        let trust_domain = identity.map(|identity| identity.trust_domain.as_str().into());
        let remote = source;
        let (sni, head) = (None, None);
        Self { source, remote, destination, identity, workload, principals, account, trust_domain, sni, head }
    }

    /// True for somebody proven whom the snapshot does not show (yet): his labels cannot be told.
    pub(super) fn is_unknown(&self) -> bool {
        self.identity.is_some() && self.workload.is_none()
    }

    /// True if it is a request, whose head is seen.
    pub(super) fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// The keys of the labels that are known.
    pub(super) fn labels(&self) -> impl Iterator<Item = &'a Arc<str>> {
        self.workload.into_iter().flat_map(|workload| workload.labels.keys())
    }

    /// What `attribute` is: none of it for a stranger, who has no identity and no labels.
    pub(super) fn texts<'s>(&'s self, attribute: &'s Attribute) -> Told<'s> {
        let of_head = |texts: for<'h> fn(&'h SeenHead<'_>) -> &'h [Arc<str>]| match &self.head {
            Some(head) => Told::Texts(texts(head)),
            None => Told::Never,
        };
        Told::Texts(match attribute {
            Attribute::Principal => &self.principals,
            Attribute::Namespace => self.identity.map_or(&[], |identity| from_ref(&identity.namespace)),
            Attribute::ServiceAccount => self.account.as_slice(),
            Attribute::TrustDomain => self.trust_domain.as_slice(),
            Attribute::Sni => match &self.sni {
                Some(name) => name.as_slice(),
                None => return Told::Never,
            },
            Attribute::Host => return of_head(|head| &head.hosts),
            Attribute::Method => return of_head(|head| head.method.as_slice()),
            Attribute::Path => return of_head(|head| head.path.as_slice()),
            Attribute::Token(attribute) => {
                let Some(head) = &self.head else { return Told::Never };
                return head.claims.map_or(Told::Texts(&[]), |claims| Told::Claim(claims.texts(attribute)));
            }
            Attribute::Header(name) => {
                let Some(head) = &self.head else { return Told::Never };
                return head.fields.list(name).map_or(Told::Texts(&[]), Told::List);
            }
            Attribute::Label(_) if self.is_unknown() => return Told::NotYet,
            Attribute::Label(key) => self.workload.and_then(|workload| workload.labels.get(key)).map_or(&[], from_ref),
        })
    }
}

impl<'a> SeenHead<'a> {
    fn new<F: ?Sized>(head: &Head<'a, F>, fields: &'a dyn Lists) -> Self {
        let there = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
        let path = head.path.split(['?', '#']).next().and_then(there);
        Self { method: there(head.method), hosts: hosts(head.authority), path, claims: head.claims, fields }
    }
}

/// The names of the host in `authority`, in lower case: as it is, without the port, and without the dot of the root.
fn hosts(authority: &str) -> Vec<Arc<str>> {
    let whole = authority.to_ascii_lowercase();
    let port = whole.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    // The colons of an address that stands without its brackets are its own.
    let name = port.map_or(&*whole, |(name, _)| name);
    let name = if name.contains(':') && !name.ends_with(']') { &*whole } else { name };
    let mut hosts: Vec<Arc<str>> = Vec::new();
    for host in [&*whole, name, name.strip_suffix('.').unwrap_or(name)] {
        if !host.is_empty() && !hosts.iter().any(|held| **held == *host) {
            hosts.push(host.into());
        }
    }
    hosts
}

/// The address from which `workload` would dial `destination`: its first of that family.
fn address_towards(workload: &Workload, destination: SocketAddr) -> Option<IpAddr> {
    let own = workload.addresses.iter().map(IpAddr::to_canonical);
    own.into_iter().find(|address| address.is_ipv4() == destination.is_ipv4())
}
