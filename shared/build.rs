//! Compiles the protobuf files without `protoc`, when the `wire` feature asks for them.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../proto");
    if std::env::var_os("CARGO_FEATURE_WIRE").is_some() {
        let files = protox::compile(["../proto/worker_session.proto"], ["../proto"])?;
        tonic_prost_build::configure().bytes(".cloudai.v1").compile_fds(files)?;
    }
    Ok(())
}
