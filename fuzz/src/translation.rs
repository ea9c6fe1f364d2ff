//! What the targets of policies and of rules for traffic feed: their translation, from any JSON.

use std::sync::Arc;

use ambit_api::{Kind, Object, Resource, translate};
use ambit_model::destination::DestinationRules;
use ambit_model::gateway::{Gateways, listeners};
use ambit_model::route::Routes;
use ambit_model::{Mesh, Policies};

/// Reads `bytes` as every kind of policies. What is wrong is named, what is right can be put in force and taken back. True
/// if one is right.
pub fn policy(bytes: &[u8]) -> bool {
    translated(bytes, &[Kind::PeerAuthentication, Kind::AuthorizationPolicy, Kind::RequestAuthentication])
}

/// Reads `bytes` as a VirtualService, as a DestinationRule, as Istio's Gateway and as routes of the Gateway API, like [`policy`].
pub fn rule(bytes: &[u8]) -> bool {
    let of_istio = [Kind::VirtualService, Kind::DestinationRule, Kind::IstioGateway];
    translated(bytes, &[&of_istio[..], &[Kind::HttpRoute, Kind::GrpcRoute]].concat())
}

fn translated(bytes: &[u8], kinds: &[Kind]) -> bool {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return false };
    let mut right = false;
    for kind in kinds {
        let Ok(object) = Object::read(*kind, &value) else { continue };
        match translate(&object, &Mesh::default()) {
            Ok(translated) => {
                right = true;
                put(translated.resource);
            }
            Err(errors) => {
                assert!(!errors.is_empty(), "it is refused and nothing is wrong");
                for error in errors {
                    assert!(!error.path.is_empty() && !error.message.is_empty(), "{error:?} helps nobody");
                }
            }
        }
    }
    right
}

fn put(resource: Resource) {
    let (mut policies, mut routes) = <(Policies, Routes)>::default();
    let (mut rules, mut gateways) = <(DestinationRules, Gateways)>::default();
    match resource {
        Resource::PeerAuthentication(policy) => {
            assert!(policies.set_peer(&policy.key, Some(Arc::clone(&policy))));
            assert!(policies.set_peer(&policy.key, None));
        }
        Resource::AuthorizationPolicy(policy) => {
            assert!(policies.set_authorization(&policy.key, Some(Arc::clone(&policy))));
            assert!(policies.set_authorization(&policy.key, None));
        }
        Resource::RequestAuthentication(policy) => {
            assert!(policies.set_authentication(&policy.key, Some(Arc::clone(&policy))));
            assert!(policies.set_authentication(&policy.key, None));
        }
        Resource::VirtualService(service) => {
            assert!(routes.set(&service.key, Some(Arc::clone(&service))));
            assert!(routes.set(&service.key, None));
        }
        Resource::DestinationRule(rule) => {
            assert!(rules.set(&rule.key, Some(Arc::clone(&rule))));
            assert!(rules.set(&rule.key, None));
        }
        Resource::IstioGateway(gateway) => {
            assert!(gateways.set(&gateway.key, Some(Arc::clone(&gateway))));
            let (listeners, conflicts) = listeners(gateways.iter(), |port| [port].into());
            assert!(listeners.len() <= gateway.servers.len());
            assert!(conflicts.iter().all(|conflict| conflict.with == gateway.key), "there is no other");
            assert!(gateways.set(&gateway.key, None));
        }
        // What it names, and with that what it does, is for who knows the others.
        Resource::Route(_) => {}
        _ => unreachable!("it is of another kind"),
    }
    assert_eq!((policies, routes, rules, gateways), Default::default(), "something of it is left");
}
