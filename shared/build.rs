//! Compiles the protobuf files without `protoc`, when the `wire` feature asks for them.

use std::path::Path;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../proto");
    if std::env::var_os("CARGO_FEATURE_WIRE").is_some() {
        let files = ["worker_session.proto", "worker_identity.proto", "master_worker.proto"];
        let files = protox::compile(files.map(|file| format!("../proto/{file}")), ["../proto"])?;
        // What the reflection service tells of.
        let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
        std::fs::write(Path::new(&out).join("descriptors.bin"), files.encode_to_vec())?;
        let build = tonic_prost_build::configure().bytes(".").extern_path(".cluster.Task", "crate::seed_task::Task");
        // It has a password in it.
        build.skip_debug([".cloudai.v1.RegistryLogin"]).compile_fds(files)?;
    }
    Ok(())
}
