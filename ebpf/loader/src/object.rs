//! Loads the embedded object: creates the maps that are not pinned yet, adopts those that are, and loads the programs.
//! It attaches nothing.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use ambit_ebpf_abi::{constants, maps, programs};
use aya::{
    EbpfLoader, VerifierLogLevel,
    maps::{MapData, MapInfo},
    programs::{Program, ProgramError},
};

use crate::{error::Error, pins::Pins};

/// The programs, as `cargo xtask ebpf` built them.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/ambit.o");

/// The loaded programs.
pub(crate) struct Programs {
    pub(crate) connect4: OwnedFd,
    pub(crate) connect6: OwnedFd,
    pub(crate) peer4: OwnedFd,
    pub(crate) peer6: OwnedFd,
    pub(crate) send4: OwnedFd,
    pub(crate) send6: OwnedFd,
    pub(crate) receive4: OwnedFd,
    pub(crate) receive6: OwnedFd,
    pub(crate) publish: OwnedFd,
    pub(crate) steer: OwnedFd,
}

/// Loads the programs onto the maps below `pins`, telling them the network namespace `host` (0 for none).
pub(crate) fn load(pins: &Pins, host: u64) -> Result<Programs, Error> {
    check_layout(pins)?;
    let mut loader = EbpfLoader::new();
    // No program reads the kernel's own structures.
    loader.btf(None).verifier_log_level(VerifierLogLevel::DEBUG);
    loader.override_global(constants::HOST_NETNS, &host, true);
    for name in maps::ALL {
        loader.map_pin_path(name, pins.maps().join(name));
    }
    let mut object = loader.load(OBJECT).map_err(|error| Error::Object(Box::new(error)))?;
    let mut program = |name: &'static str| {
        let missing = || ProgramError::InvalidName { name: name.to_owned() };
        let loaded = object.program_mut(name).ok_or_else(missing).and_then(load_program);
        loaded.map_err(|source| Error::Program { program: name, source: Box::new(source) })
    };
    Ok(Programs {
        connect4: program(programs::CONNECT4)?,
        connect6: program(programs::CONNECT6)?,
        peer4: program(programs::PEER4)?,
        peer6: program(programs::PEER6)?,
        send4: program(programs::SEND4)?,
        send6: program(programs::SEND6)?,
        receive4: program(programs::RECEIVE4)?,
        receive6: program(programs::RECEIVE6)?,
        publish: program(programs::PUBLISH)?,
        steer: program(programs::STEER)?,
    })
}

fn load_program(program: &mut Program) -> Result<OwnedFd, ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.load()?,
        Program::SockOps(program) => program.load()?,
        Program::SkLookup(program) => program.load()?,
        _ => return Err(ProgramError::UnexpectedProgramType),
    }
    Ok(program.fd()?.as_fd().try_clone_to_owned()?)
}

/// Refuses pinned maps that have another shape than the object's: they would be read as what they are not.
fn check_layout(pins: &Pins) -> Result<(), Error> {
    let object = aya_obj::Object::parse(OBJECT).map_err(|error| Error::Object(Box::new(error.into())))?;
    for (name, wanted) in &object.maps {
        let path = pins.maps().join(name);
        if !path.exists() {
            continue;
        }
        let pinned = shape(&path).map_err(|error| Error::Object(Box::new(error.into())))?;
        let wanted =
            [wanted.map_type(), wanted.key_size(), wanted.value_size(), wanted.max_entries(), wanted.map_flags()];
        if pinned != wanted {
            return Err(Error::Layout { path, directory: pins.directory() });
        }
    }
    Ok(())
}

fn shape(path: &Path) -> Result<[u32; 5], aya::maps::MapError> {
    let info: MapInfo = MapData::from_pin(path)?.info()?;
    let kind = info.map_type()? as u32;
    Ok([kind, info.key_size(), info.value_size(), info.max_entries(), info.map_flags()])
}
