//! Compiles `src/redirect.bpf.c` with clang; `src/lib.rs` embeds the object.

use std::{env, path::PathBuf, process::Command};

const SOURCE: &str = "src/redirect.bpf.c";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    let object = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("redirect.bpf.o");
    // -g makes the BTF that aya needs; the include path is where Debian keeps asm/types.h.
    let status = Command::new("clang")
        .args([
            "-O2",
            "-g",
            "-Wall",
            "-Werror",
            "-target",
            "bpf",
            "-I/usr/include/x86_64-linux-gnu",
            "-c",
            SOURCE,
            "-o",
        ])
        .arg(&object)
        .status();
    let advice = "install the build packages: apt-get install clang libbpf-dev linux-libc-dev (or run `make setup`)";
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("clang could not compile {SOURCE}: {status}; {advice}")),
        Err(error) => fail(&format!("clang could not be started: {error}; {advice}")),
    }
}

fn fail(message: &str) {
    println!("cargo:warning={message}");
    #[expect(clippy::exit, reason = "a build script reports failure by its exit code")]
    std::process::exit(1);
}
