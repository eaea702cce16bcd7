//! The password of those who log in over HTTP, as the hash that is kept of it.

use crate::files::{read_small, write_private};
use crate::{Error, ErrorKind, Result};
use argon2::password_hash::phc::{Output, PasswordHash as Phc};
use argon2::{ARGON2ID_IDENT, Argon2, Params, PasswordHasher, PasswordVerifier};
use std::fmt;
use std::path::Path;

/// Characters of a password that is set, at least: the fewest that NIST SP 800-63B knows.
const LEAST: usize = 8;

bound! {
    /// Bytes of a password that is set (test `a_password_has_an_end`).
    const MAX_PASSWORD: usize = 1_024, without usize::MAX;
    /// KiB that it may take to check a password against a hash that somebody else has made
    /// (test `a_hash_that_costs_too_much_is_refused`).
    const MAX_MEMORY: u32 = 256 * 1024, without u32::MAX;
    /// How often it may go through them (test `a_hash_that_costs_too_much_is_refused`).
    const MAX_PASSES: u32 = 16, without u32::MAX;
    /// Lanes that it may have (test `a_hash_that_costs_too_much_is_refused`).
    const MAX_LANES: u32 = 16, without u32::MAX;
}

/// The argon2id hash of a password (RFC 9106), as a PHC string: `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`. It prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Makes the hash of a password, with another salt each time. Takes 19 MiB and two passes through them, as OWASP recommends.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a password of less than 8 characters or more than 1,024 bytes; [`ErrorKind::Io`] where the
    /// operating system gives no random numbers.
    pub fn make(password: &str) -> Result<Self> {
        Self::check_length(password)?;
        let failed = |error| Error::new(ErrorKind::Io, format!("make the hash of a password: {error}"));
        let hash: Phc = Argon2::default().hash_password(password.as_bytes()).map_err(failed)?;
        Ok(Self(hash.to_string()))
    }

    /// Takes a hash that was made before.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what is none, and for one of which a password takes more than 256 MiB, 16 passes or 16
    /// lanes to be checked. What was given is not in the error: it may be a password.
    pub fn parse(text: &str) -> Result<Self> {
        let fault = |text: &'static str| Error::new(ErrorKind::InvalidArgument, text);
        let none = || fault("this is no argon2id hash of a password, as `streamengine passwd` makes it");
        let hash = Phc::new(text.trim()).map_err(|_| none())?;
        let params = Params::try_from(&hash).map_err(|_| none())?;
        let is_whole = hash.salt.is_some() && hash.hash.is_some_and(|hash| hash.len() >= Output::MIN_LENGTH);
        // Version 0x13; a string that does not say which means the one before.
        if hash.algorithm != ARGON2ID_IDENT || hash.version != Some(19) || !is_whole {
            return Err(none());
        }
        if params.m_cost() > MAX_MEMORY.get()
            || params.t_cost() > MAX_PASSES.get()
            || params.p_cost() > MAX_LANES.get()
        {
            return Err(fault("this hash of a password takes too much to be checked"));
        }
        Ok(Self(hash.to_string()))
    }

    /// Reads one from a file; `None` where there is no such file.
    ///
    /// # Errors
    /// Those of the operating system, and as [`Self::parse`]; they name the file.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let name = format!("password file {}", path.display());
        let bytes = match read_small(path, &name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let text = String::from_utf8(bytes).unwrap_or_default();
        Self::parse(&text).map(Some).map_err(|error| error.context(name))
    }

    /// Writes it to a file that the owner alone may read: all of it or nothing.
    ///
    /// # Errors
    /// Those of the operating system; they name the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_private(path, format!("{}\n", self.0).as_bytes())
    }

    /// The string. Who has it can try passwords on it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a password may be set.
    pub(crate) fn check_length(password: &str) -> Result<()> {
        let text = match password.chars().count() {
            short if short < LEAST => format!("a password has {LEAST} characters at least"),
            _ if password.len() > MAX_PASSWORD.get() => {
                format!("a password has {} bytes at most", MAX_PASSWORD.stated())
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }

    /// Whether it is the hash of this password. Takes long, on purpose, and as long whatever the password is.
    pub(crate) fn is_of(&self, password: &str) -> bool {
        let hash = Phc::new(&self.0);
        hash.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_and_no_other_is() {
        let hash = PasswordHash::make("correct horse").unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.expose());
        assert!(hash.is_of("correct horse"));
        for wrong in ["", "correct hors", "Correct horse", &"x".repeat(100_000)] {
            assert!(!hash.is_of(wrong));
        }
        assert_ne!(PasswordHash::make("correct horse").unwrap(), hash, "it is salted");
        assert_eq!(PasswordHash::parse(hash.expose()).unwrap(), hash);
        assert_eq!(format!("{hash:?}"), "***");
    }

    #[test]
    fn a_hash_that_another_program_has_made_is_taken() {
        // By the reference implementation: `printf %s password | argon2 somesalt -id -t 2 -m 16 -p 1`.
        let hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let hash = PasswordHash::parse(&format!("{hash}\n")).unwrap();
        assert!(hash.is_of("password") && !hash.is_of("Password"));
    }

    #[test]
    fn what_is_no_hash_of_argon2id_is_refused_and_not_told() {
        for text in [
            "",
            "hunter2hunter2",
            "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=16$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ",
            "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
        ] {
            let error = PasswordHash::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn a_hash_that_costs_too_much_is_refused() {
        let with = |params: &str| {
            let rest = "c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
            PasswordHash::parse(&format!("$argon2id$v=19${params}${rest}"))
        };
        with("m=262144,t=16,p=16").unwrap();
        for params in ["m=262145,t=1,p=1", "m=1024,t=17,p=1", "m=1024,t=1,p=17"] {
            assert!(with(params).unwrap_err().to_string().contains("too much"), "{params}");
        }
    }

    #[test]
    fn a_password_has_an_end() {
        let made = |password: &str| PasswordHash::make(password).map(drop).map_err(|error| error.to_string());
        assert!(made("1234567").unwrap_err().contains("8 characters"));
        assert!(made(&"1".repeat(1_025)).unwrap_err().contains("1024 bytes"));
        made("密码密码密码密码").unwrap();
        made(&"1".repeat(1_024)).unwrap();
    }

    #[test]
    fn a_file_is_written_for_its_owner_alone_and_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        assert_eq!(PasswordHash::read(&path).unwrap(), None);
        for password in ["first-password", "second-password"] {
            let hash = PasswordHash::make(password).unwrap();
            hash.write(&path).unwrap();
            assert_eq!(PasswordHash::read(&path).unwrap(), Some(hash));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&path, "a-password-itself").unwrap();
        let error = PasswordHash::read(&path).unwrap_err().to_string();
        assert!(error.contains("password file") && !error.contains("itself"), "{error}");
        let error = PasswordHash::make("a password").unwrap().write(&dir.path().join("none/password"));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
