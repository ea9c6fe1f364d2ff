//! The messages of SOCKS5 (RFC 1928 sections 3 to 6): what a client says and what it is told. Never asks for more bytes
//! than the message at hand has, since what follows belongs to the destination.

use std::net::{IpAddr, SocketAddr};

use ambit_model::{Authority, Reason};

use super::Error;

const VERSION: u8 = 5;
const WITHOUT_AUTHENTICATION: u8 = 0;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const HOST_NAME: u8 = 3;
const IPV6: u8 = 4;

/// The answer to [`methods`] that are acceptable (section 3).
pub(super) const ACCEPTABLE: [u8; 2] = [VERSION, WITHOUT_AUTHENTICATION];
/// The answer when none is.
pub(super) const UNACCEPTABLE: [u8; 2] = [VERSION, 0xff];

/// What the bytes that are there make of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read<T> {
    /// All of it.
    Whole(T),
    /// A part: it has so many more bytes, at least.
    Lacks(usize),
}

/// Reads which methods a client offers, one of which must do without authentication (section 3).
pub(super) fn methods(bytes: &[u8]) -> Result<Read<()>, Error> {
    check_version(bytes)?;
    let [_, count, offered @ ..] = bytes else { return Ok(Read::Lacks(2 - bytes.len())) };
    match usize::from(*count).checked_sub(offered.len()) {
        Some(lacking) if lacking > 0 => Ok(Read::Lacks(lacking)),
        _ if offered.contains(&WITHOUT_AUTHENTICATION) => Ok(Read::Whole(())),
        _ => Err(Error::Methods),
    }
}

/// Reads a request and where it leads (sections 4 and 5).
pub(super) fn request(bytes: &[u8]) -> Result<Read<Authority>, Error> {
    check_version(bytes)?;
    let [_, command, _, kind, rest @ ..] = bytes else { return Ok(Read::Lacks(4 - bytes.len())) };
    if *command != CONNECT {
        return Err(Error::Command(*command));
    }
    let (from, length) = match (*kind, rest.first()) {
        (IPV4, _) => (0, 4),
        (IPV6, _) => (0, 16),
        (HOST_NAME, Some(length)) => (1, usize::from(*length)),
        (HOST_NAME, None) => return Ok(Read::Lacks(1)),
        (other, _) => return Err(Error::AddressType(other)),
    };
    let port = from + length;
    let Some((host, &[high, low])) = rest.get(from..port).zip(rest.get(port..port + 2)) else {
        return Ok(Read::Lacks(port + 2 - rest.len()));
    };
    let destination = destination(host, *kind, u16::from_be_bytes([high, low]));
    destination.map(Read::Whole).ok_or(Error::Destination)
}

fn destination(host: &[u8], kind: u8, port: u16) -> Option<Authority> {
    let address = match kind {
        IPV4 => Some(<[u8; 4]>::try_from(host).ok()?.into()),
        IPV6 => Some(<[u8; 16]>::try_from(host).ok()?.into()),
        // Some clients write every address as a name.
        _ => std::str::from_utf8(host).ok()?.parse::<IpAddr>().ok(),
    };
    let text = match address {
        Some(address) => SocketAddr::new(address.to_canonical(), port).to_string(),
        None => format!("{}:{port}", std::str::from_utf8(host).ok()?),
    };
    text.parse().ok()
}

fn check_version(bytes: &[u8]) -> Result<(), Error> {
    match bytes.first() {
        Some(other) if *other != VERSION => Err(Error::Version(*other)),
        _ => Ok(()),
    }
}

/// The answer to a request (section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It is connected.
    Succeeded = 0,
    /// What the others do not say.
    GeneralFailure = 1,
    /// Policy or the mesh itself does not allow it.
    NotAllowed = 2,
    /// There is no way to it.
    NetworkUnreachable = 3,
    /// Nobody is there, or nobody is known by that name.
    HostUnreachable = 4,
    /// Somebody is there, and does not serve this port.
    ConnectionRefused = 5,
    /// BIND and UDP ASSOCIATE.
    CommandNotSupported = 7,
    /// An address that is of neither family, nor a name.
    AddressTypeNotSupported = 8,
}

impl Reply {
    /// The message. The address that it has room for means nothing to a CONNECT, and is unspecified.
    pub(crate) fn message(self) -> [u8; 10] {
        [VERSION, self as u8, 0, IPV4, 0, 0, 0, 0, 0, 0]
    }
}

impl From<Reason> for Reply {
    fn from(reason: Reason) -> Self {
        use Reason as R;
        match reason {
            R::PolicyDenied | R::NoPolicyMatched | R::MtlsRequired | R::PolicyChanged | R::RecursiveCall => {
                Self::NotAllowed
            }
            R::NoRoute => Self::NetworkUnreachable,
            R::UnknownHost
            | R::UnknownWorkload
            | R::NoHealthyUpstream
            | R::ConnectTimeout
            | R::TunnelPortBlocked
            | R::PeerGone => Self::HostUnreachable,
            R::ConnectionRefused | R::NoSuchServicePort => Self::ConnectionRefused,
            _ => Self::GeneralFailure,
        }
    }
}

impl From<&Error> for Reply {
    fn from(error: &Error) -> Self {
        match error {
            Error::Command(_) => Self::CommandNotSupported,
            Error::AddressType(_) => Self::AddressTypeNotSupported,
            _ => Self::GeneralFailure,
        }
    }
}

#[cfg(test)]
mod tests;
