//! What created a pod, as metrics name it: the Deployment rather than its ReplicaSet, the CronJob rather than its Job.

use std::sync::Arc;

use ambit_model::Owner;

use crate::labels;
use crate::object::ObjectMeta;

/// The owner of the pod of `metadata`: the pod itself where nothing else is.
pub(super) fn owner(metadata: &ObjectMeta) -> Owner {
    let owners = &metadata.owner_references;
    let Some(direct) = owners.iter().find(|owner| owner.controller).or(owners.first()) else {
        return of("pod", &metadata.name);
    };
    let above = match direct.kind.as_str() {
        "ReplicaSet" => deployment(&direct.name, metadata.label(labels::POD_TEMPLATE_HASH)).map(|n| ("deployment", n)),
        "Job" => cron_job(&direct.name).map(|name| ("cronjob", name)),
        _ => None,
    };
    match above {
        Some((kind, name)) => of(kind, name),
        None => of(&direct.kind.to_ascii_lowercase(), &direct.name),
    }
}

/// A Deployment's ReplicaSet is called `<deployment>-<pod template hash>`.
fn deployment<'a>(replica_set: &'a str, hash: Option<&str>) -> Option<&'a str> {
    let (name, last) = replica_set.rsplit_once('-')?;
    (!name.is_empty() && hash.is_none_or(|hash| hash == last)).then_some(name)
}

/// A CronJob's Job is called `<cron job>-<minutes since 1970>`: eight digits, ten in its first years.
fn cron_job(job: &str) -> Option<&str> {
    let (name, time) = job.rsplit_once('-')?;
    let is_time = (8..=10).contains(&time.len()) && time.bytes().all(|b| b.is_ascii_digit());
    (!name.is_empty() && is_time).then_some(name)
}

fn of(kind: &str, name: &str) -> Owner {
    Owner { kind: Arc::from(kind), name: Arc::from(name) }
}
