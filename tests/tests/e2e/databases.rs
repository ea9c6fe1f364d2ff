//! Real servers through the mesh by service address: PostgreSQL and Redis from Debian, with their own clients, on one
//! node and across, by both families.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ambit_tests::payload::MARKER;
use ambit_tests::process::Finished;
use ambit_tests::topology::Plan;
use ambit_tests::{Process, Wire};
use nix::unistd::{User, chown};

use crate::world::{SHOP, SOON, World, spiffe, vips};

/// Longer than a client takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The clients: on the other node and on the server's own.
const CLIENTS: [&str; 2] = ["client", "neighbour"];

/// A mesh whose service `far` also has `port`.
fn world(port: u16) -> World {
    let plan = Plan::new(&["a", "b"]).pod("client", "a").pod("far", "b").pod("neighbour", "b");
    let mut world = World::build(plan, &[]);
    let added = serde_json::json!({"name": "database", "port": port, "targetPort": port});
    let edit = |service: &mut serde_json::Value| service["spec"]["ports"].as_array_mut().unwrap().push(added);
    world.manifests.edit("Service", SHOP, "far", edit).unwrap();
    world.await_config(&["a", "b"], |dump| dump["services"].to_string().contains(&port.to_string()));
    world
}

/// The program `name` in one of `directories`, or a failure that says how to get it.
fn program(name: &str, directories: &[PathBuf], package: &str) -> PathBuf {
    let found = directories.iter().map(|directory| directory.join(name)).find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: apt-get install {package}"))
}

/// Runs a client in `pod` to its end, which must be a success.
fn run(world: &World, pod: &str, program: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new(program);
    command.args(arguments);
    world.pod(pod).start(command).unwrap().finish(PATIENCE).unwrap().success().unwrap()
}

/// Every client with every address of the service: as programs take it, without a port.
fn calls() -> impl Iterator<Item = (&'static str, IpAddr)> {
    CLIENTS.into_iter().flat_map(|client| vips("far").map(|vip| (client, vip)))
}

/// Every call went by the mesh, with both identities.
fn recorded(world: &World, port: u16) {
    for (client, vip) in calls() {
        let ip = world.ip_like("far", vip);
        let target = SocketAddr::new(ip, port).to_string();
        let (source, destination) = (spiffe(client), spiffe("far"));
        let address = if client == "neighbour" { "dst.addr" } else { "dst.hbone_addr" };
        let fields = [("src.identity", &*source), ("dst.identity", &*destination), (address, &*target)];
        world.agent(&world.pod(client).node).wait_access_log(&fields, SOON).unwrap();
    }
}

/// A PostgreSQL server and its files.
pub(crate) struct Postgres {
    _server: Process,
    _files: tempfile::TempDir,
}

/// The directories of Debian's PostgreSQL, the newest version first.
fn postgres_directories() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut directories: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    directories.sort();
    directories.reverse();
    directories
}

/// PostgreSQL's own client `name`.
pub(crate) fn postgres_client(name: &str) -> PathBuf {
    program(name, &[postgres_directories(), vec!["/usr/bin".into()]].concat(), "postgresql")
}

impl Postgres {
    /// A fresh database in `pod`, open to everybody without a password.
    pub(crate) fn start(world: &World, pod: &str) -> Self {
        let directories = postgres_directories();
        let [initdb, postgres] = ["initdb", "postgres"].map(|name| program(name, &directories, "postgresql"));
        let user = User::from_name("postgres").unwrap().expect("there is no user postgres: apt-get install postgresql");
        let files = tempfile::Builder::new().prefix("ambit-postgres-").tempdir().unwrap();
        chown(files.path(), Some(user.uid), Some(user.gid)).unwrap();
        // It refuses to run as root.
        let as_postgres = |program: &Path| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]).arg(program);
            command.current_dir(files.path());
            command
        };
        let data = files.path().join("data");
        let mut init = as_postgres(&initdb);
        init.args(["--auth", "trust", "--username", "postgres", "--no-sync", "--pgdata"]).arg(&data);
        world.pod(pod).start(init).unwrap().finish(PATIENCE).unwrap().success().unwrap();
        let mut access = fs::File::options().append(true).open(data.join("pg_hba.conf")).unwrap();
        writeln!(access, "host all all all trust").unwrap();
        let mut serve = as_postgres(&postgres);
        serve.args(["-h", "*", "-p", "5432", "-F", "-c", "shared_buffers=16MB", "-k"]).arg(files.path());
        serve.arg("-D").arg(&data);
        let server = world.pod(pod).start(serve).unwrap();
        server.wait_line("ready to accept connections", PATIENCE).unwrap();
        Self { _server: server, _files: files }
    }
}

#[test]
fn postgresql_answers_queries_and_commits_transactions() {
    let [psql, pgbench] = ["psql", "pgbench"].map(postgres_client);
    let world = world(5432);
    let _postgres = Postgres::start(&world, "far");
    let marker = String::from_utf8_lossy(MARKER);
    let wire = Wire::between(&world.topology, &[MARKER, b"pgbench_accounts"]).unwrap();
    for (number, (client, vip)) in calls().enumerate() {
        let (seen_as, vip) = (world.ip_like(client, vip), vip.to_string());
        let at = ["-h", &vip, "-p", "5432", "-U", "postgres"];
        let sql = |sql: &str| run(&world, client, &psql, &[&at[..], &["-XAtqc", sql, "postgres"]].concat()).stdout();
        assert_eq!(sql("select host(inet_client_addr())"), format!("{seen_as}\n"));
        // Committed by one connection, seen by the next; what was rolled back is not.
        let table = format!("notes_{number}");
        sql(&format!("begin; create table {table} (note text); insert into {table} values ('{marker}'); commit"));
        sql(&format!("begin; insert into {table} values ('never'); rollback"));
        assert_eq!(sql(&format!("select note from {table}")), format!("{marker}\n"));
        // More than any buffer on the way holds.
        let large = sql("select repeat('0123456789abcdef', 500000)");
        assert_eq!(large.trim_end(), "0123456789abcdef".repeat(500_000));
        run(&world, client, &pgbench, &[&at[..], &["--initialize", "--quiet", "postgres"]].concat());
        let load = ["--client", "4", "--transactions", "50", "--no-vacuum", "postgres"];
        let printed = run(&world, client, &pgbench, &[&at[..], &load].concat()).stdout();
        assert!(printed.contains("actually processed: 200/200"), "{printed}");
        assert!(printed.contains("number of failed transactions: 0 "), "{printed}");
    }
    wire.stop().unwrap().only_hbone().unwrap();
    recorded(&world, 5432);
}

#[test]
fn redis_answers_pipelines_and_pushes_to_subscribers() {
    let directories = [PathBuf::from("/usr/bin"), "/usr/local/bin".into()];
    let server = program("redis-server", &directories, "redis-server");
    let [cli, benchmark] = ["redis-cli", "redis-benchmark"].map(|name| program(name, &directories, "redis-tools"));
    let world = world(6379);
    let files = tempfile::Builder::new().prefix("ambit-redis-").tempdir().unwrap();
    let mut serve = Command::new(server);
    serve.args(["--port", "6379", "--bind", "*", "-::*", "--protected-mode", "no", "--save", "", "--dir"]);
    let server = world.pod("far").start({
        serve.arg(files.path());
        serve
    });
    let server = server.unwrap();
    server.wait_line("eady to accept connections", SOON).unwrap();
    let marker = String::from_utf8_lossy(MARKER);
    let wire = Wire::between(&world.topology, &[MARKER, b"SUBSCRIBE", b"subscribe"]).unwrap();
    for (client, vip) in calls() {
        let vip = vip.to_string();
        let redis = |words: &[&str]| run(&world, client, &cli, &[&["-h", &vip][..], words].concat()).stdout();
        assert_eq!(redis(&["set", "note", &marker]), "OK\n");
        assert_eq!(redis(&["get", "note"]), format!("{marker}\n"));
        // The server speaks unasked, long after it was asked.
        let mut subscribe = Command::new(&cli);
        subscribe.args(["-h", &vip, "subscribe", "news"]);
        let subscriber = world.pod(client).start(subscribe).unwrap();
        subscriber.wait_line("subscribe", SOON).unwrap();
        assert_eq!(redis(&["publish", "news", &marker]), "1\n");
        subscriber.wait_line(&marker, SOON).unwrap();
        let load = ["-h", &vip, "-n", "2000", "-c", "20", "-P", "8", "-d", "2000", "-t", "set,get,mset", "--csv"];
        let printed = run(&world, client, &benchmark, &load).stdout();
        for test in ["\"SET\"", "\"GET\"", "\"MSET (10 keys)\""] {
            assert!(printed.contains(test), "{printed}");
        }
        assert_eq!(redis(&["config", "get", "maxmemory"]), "maxmemory\n0\n");
    }
    wire.stop().unwrap().only_hbone().unwrap();
    recorded(&world, 6379);
}
