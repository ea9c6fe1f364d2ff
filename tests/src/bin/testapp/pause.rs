//! Does nothing until it is told to stop: the process that holds a pod's namespaces.

pub(crate) async fn run() -> anyhow::Result<()> {
    super::asked_to_stop().await
}
