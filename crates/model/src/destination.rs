//! How the endpoints of a host are reached, as DestinationRules say (Istio `networking.istio.io` DestinationRule):
//! subsets, balancing, limits, outliers, TLS. Pure: which settings hold for whom; keeping to them is for proxies.

mod balance;
mod limits;
mod locality;
mod outliers;
mod policy;
mod rules;
mod tls;

pub use balance::{Balance, Cookie, HashAlgorithm, HashKey, LoadBalancer, Simple, Warmup};
pub use limits::{ConnectionPool, HttpUpgrade, Keepalive, Ping};
pub use locality::{ByLocality, Distribute, FailoverLabel, Place};
pub use outliers::OutlierDetection;
pub use policy::{ProxyProtocol, RetryBudget, Settings, TrafficPolicy};
pub use rules::{Asked, DestinationRule, DestinationRules, Merged, Subset};
pub use tls::{ClientTls, Credentials, TlsMode};
