//! What happened to a request on its way, as Envoy's response flags. Pure: knows names and their order.

use std::fmt;

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)+) => {
        /// One thing that happened to a request (Envoy, `%RESPONSE_FLAGS%`), in Envoy's order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ResponseFlag { $($(#[$doc])* $name,)+ }

        impl ResponseFlag {
            /// Every flag, in Envoy's order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Envoy's short name, such as `UF`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }
        }
    };
}

flags! {
    /// The service has no endpoint that takes requests.
    NoHealthyUpstream = "UH";
    /// The server did not answer within the request's timeout.
    UpstreamRequestTimeout = "UT";
    /// The proxy itself reset the connection to the server.
    LocalReset = "LR";
    /// The server reset the request.
    UpstreamRemoteReset = "UR";
    /// The server could not be connected to.
    UpstreamConnectionFailure = "UF";
    /// The server closed the connection before it had answered.
    UpstreamConnectionTermination = "UC";
    /// As many connections or requests as are allowed are open (circuit breaking).
    UpstreamOverflow = "UO";
    /// No route is meant for the request.
    NoRouteFound = "NR";
    /// The request was delayed on purpose.
    DelayInjected = "DI";
    /// The request was answered with an error on purpose.
    FaultInjected = "FI";
    /// A rate limit refused the request.
    RateLimited = "RL";
    /// An external authorization service refused the request.
    UnauthorizedExternalService = "UAEX";
    /// The rate limit service failed, and requests are refused when it does.
    RateLimitServiceError = "RLSE";
    /// The client closed the connection or reset the request.
    DownstreamConnectionTermination = "DC";
    /// The last attempt failed that retries allow.
    UpstreamRetryLimitExceeded = "URX";
    /// Nothing was sent either way for too long.
    StreamIdleTimeout = "SI";
    /// A header has a value that is not allowed for it.
    InvalidRequestHeaders = "IH";
    /// The client broke the rules of HTTP.
    DownstreamProtocolError = "DPE";
    /// The request took longer than any request may.
    MaxStreamDurationReached = "UMSDR";
    /// The route names a service or a subset that there is none of.
    NoClusterFound = "NC";
}

/// What all happened to a request; shown as in the metric label `response_flags`: `-` if nothing, else the short names
/// in Envoy's order with commas between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResponseFlags(u32);

impl ResponseFlags {
    /// Nothing happened.
    pub const NONE: Self = Self(0);

    /// These flags and `flag`.
    #[must_use]
    pub const fn with(self, flag: ResponseFlag) -> Self {
        Self(self.0 | Self::bit(flag))
    }

    /// These flags without `flag`.
    #[must_use]
    pub const fn without(self, flag: ResponseFlag) -> Self {
        Self(self.0 & !Self::bit(flag))
    }

    /// True if `flag` is among them.
    #[must_use]
    pub const fn has(self, flag: ResponseFlag) -> bool {
        self.0 & Self::bit(flag) != 0
    }

    /// True if nothing happened.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    const fn bit(flag: ResponseFlag) -> u32 {
        1 << flag as u32
    }
}

impl From<ResponseFlag> for ResponseFlags {
    fn from(flag: ResponseFlag) -> Self {
        Self::NONE.with(flag)
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut set = ResponseFlag::ALL.iter().filter(|flag| self.has(**flag));
        f.write_str(set.next().map_or("-", |first| first.code()))?;
        set.try_for_each(|flag| write!(f, ",{}", flag.code()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names of features.md N-07.
    const KNOWN: [&str; 20] = [
        "UF", "UH", "UO", "UT", "URX", "NR", "NC", "DC", "LR", "UR", "UC", "DI", "FI", "RL", "UAEX", "RLSE", "DPE",
        "IH", "SI", "UMSDR",
    ];

    #[test]
    fn every_flag_has_envoys_short_name() {
        let codes: BTreeSet<_> = ResponseFlag::ALL.iter().map(|flag| flag.code()).collect();
        assert_eq!(codes, BTreeSet::from(KNOWN));
        assert_eq!(codes.len(), ResponseFlag::ALL.len());
    }

    #[test]
    fn every_flag_is_shown_alone_and_apart_from_the_others() {
        for flag in ResponseFlag::ALL {
            let flags = ResponseFlags::from(*flag);
            assert_eq!(flags.to_string(), flag.code());
            assert!(ResponseFlag::ALL.iter().all(|other| flags.has(*other) == (other == flag)), "{flags}");
            assert_eq!(flags.without(*flag), ResponseFlags::NONE);
        }
    }

    #[test]
    fn several_flags_are_joined_in_envoys_order_whatever_the_order_they_came_in() {
        use ResponseFlag::{DelayInjected, UpstreamConnectionFailure, UpstreamRetryLimitExceeded};
        let one = ResponseFlags::NONE.with(UpstreamRetryLimitExceeded).with(DelayInjected);
        let one = one.with(UpstreamConnectionFailure);
        let other = ResponseFlags::from(UpstreamConnectionFailure).with(UpstreamRetryLimitExceeded).with(DelayInjected);
        assert_eq!(one, other);
        assert_eq!(one.to_string(), "UF,DI,URX");
        assert_eq!(ResponseFlags::default().to_string(), "-");
        assert!(ResponseFlags::NONE.is_none() && !one.is_none());
    }
}
