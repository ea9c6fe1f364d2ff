//! The labels and annotations that the mesh reads, by the names that Kubernetes and Istio gave them.

/// Label on a namespace or pod: `ambient` enrols, `none` opts out.
pub const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";
/// Label on a namespace, Service, ServiceEntry or pod: the waypoint by which it is reached; `none` for none.
pub const USE_WAYPOINT: &str = "istio.io/use-waypoint";
/// Label beside it: the waypoint's namespace, if that is another.
pub const USE_WAYPOINT_NAMESPACE: &str = "istio.io/use-waypoint-namespace";
/// Label beside it: a second waypoint, to which Istio gives a share.
pub const USE_WAYPOINT_CANARY: &str = "istio.io/use-waypoint-canary";
/// Label on a namespace, Service or ServiceEntry: `false` has what comes through a gateway go past the waypoint.
pub const INGRESS_USE_WAYPOINT: &str = "istio.io/ingress-use-waypoint";
/// Label on a Gateway or GatewayClass: what a waypoint serves.
pub const WAYPOINT_FOR: &str = "istio.io/waypoint-for";
/// Annotation on a Gateway: what a waypoint's pods take connections by, in the place of HBONE.
pub const WAYPOINT_BINDING: &str = "ambient.istio.io/waypoint-inbound-binding";
/// Annotation on a Service: the namespaces whose clients see it, `.` being its own and `*` all of them.
pub const EXPORT_TO: &str = "networking.istio.io/exportTo";
/// Label on a pod: the Gateway that it belongs to.
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// Label on a pod: `http` says that it serves HBONE on port 15008 itself.
pub const TUNNEL: &str = "networking.istio.io/tunnel";
/// What the mesh annotates a pod with whose connections it captures: `enabled`.
pub const REDIRECTION: &str = "ambient.istio.io/redirection";
/// Label on a namespace: `enabled` asks Istio for sidecars.
pub const INJECTION: &str = "istio-injection";
/// Label on a namespace, pod or object: of several control planes, which it is for; on a namespace or pod by itself it asks for
/// sidecars.
pub const REVISION: &str = "istio.io/rev";
/// Label on a pod: `true` asks Istio for a sidecar.
pub const SIDECAR_INJECT: &str = "sidecar.istio.io/inject";
/// Label that Kubernetes puts on every namespace: its name.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Annotation on a pod: `false` leaves its DNS queries alone.
pub const DNS_CAPTURE: &str = "ambient.istio.io/dns-capture";
/// Annotation that sidecar injection leaves on a pod.
pub const SIDECAR_STATUS: &str = "sidecar.istio.io/status";
/// Label: the name that metrics group a workload's revisions under.
pub const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
/// Label: the workload's revision in metrics.
pub const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";
/// Kubernetes' recommended label for an application's name.
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// Kubernetes' recommended label for an application's version.
pub const APP_VERSION: &str = "app.kubernetes.io/version";
/// The customary label for an application's name.
pub const APP: &str = "app";
/// The customary label for an application's version.
pub const VERSION: &str = "version";
/// Label: what a Deployment's ReplicaSet appends to its own name.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Label of an EndpointSlice: its service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of a node: its region.
pub const REGION: &str = "topology.kubernetes.io/region";
/// Label of a node: its zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Label of a node: its subzone.
pub const SUBZONE: &str = "topology.istio.io/subzone";
/// Label of a node: its region, as named before Kubernetes 1.17.
pub const REGION_BETA: &str = "failure-domain.beta.kubernetes.io/region";
/// Label of a node: its zone, as named before Kubernetes 1.17.
pub const ZONE_BETA: &str = "failure-domain.beta.kubernetes.io/zone";
/// Key by which EndpointSlices before `v1` name an endpoint's node.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// Annotation on a service or namespace: which of its endpoints a service's clients go to.
pub const TRAFFIC_DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";
/// Label of a ServiceEntry: `false` keeps its hosts from being given addresses.
pub const AUTO_ALLOCATE: &str = "networking.istio.io/enable-autoallocate-ip";
/// Annotation on an AuthorizationPolicy: `true` makes it be noted and nothing else.
pub const DRY_RUN: &str = "istio.io/dry-run";
/// Annotation on a pod: the path of its network namespace, where nothing else can tell (standalone).
pub const NETNS: &str = "ambit.dev/netns";

/// Every annotation that the mesh reads.
pub const ANNOTATIONS: [&str; 7] =
    [DNS_CAPTURE, SIDECAR_STATUS, TRAFFIC_DISTRIBUTION, DRY_RUN, NETNS, WAYPOINT_BINDING, EXPORT_TO];
