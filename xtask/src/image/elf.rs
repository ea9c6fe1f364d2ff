//! Whether a program runs without anything else: no loader, no shared library.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use object::elf::{FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};

/// Checks that the program at `path` asks for no loader.
///
/// # Errors
/// When it does, or is no program for Linux.
pub(super) fn ensure_static(path: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let loader = loader(&bytes).with_context(|| format!("{} is no program", path.display()))?;
    ensure!(loader.is_none(), "{} is not static: it asks for {}", path.display(), loader.unwrap_or_default());
    Ok(())
}

/// The loader that a program asks for.
fn loader(bytes: &[u8]) -> anyhow::Result<Option<String>> {
    let header = elf::FileHeader64::<Endianness>::parse(bytes)?;
    let endian = FileHeader64::endian(header)?;
    for segment in header.program_headers(endian, bytes)? {
        if segment.p_type(endian) == PT_INTERP {
            let name = segment.data(endian, bytes).unwrap_or_default();
            return Ok(Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_asks_for_a_loader_is_not_static_and_other_files_are_no_programs() {
        let this = std::env::current_exe().unwrap();
        let error = ensure_static(&this).unwrap_err().to_string();
        assert!(error.contains("it asks for /lib"), "{error}");
        let kernel = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ebpf/prebuilt/ambit.o");
        ensure_static(&kernel).expect("what runs in the kernel asks for no loader");
        assert!(ensure_static(Path::new(file!())).is_err());
    }
}
