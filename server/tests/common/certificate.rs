// SPDX-License-Identifier: GPL-3.0-or-later
//! Certificates, made by openssl as docs/security.md says.

use crate::common::{World, tool};

/// An authority (NAME.ca.crt, NAME.ca.key), and a server's certificate by it (NAME.pem, NAME.key) for `subject`, as in
/// `DNS:localhost`.
pub fn certificate(w: &World, name: &str, subject: &str) {
    let [ca, ca_key, cert, key] =
        ["ca.crt", "ca.key", "pem", "key"].map(|end| w.shown(&format!("{name}.{end}")));
    let new =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let common_name = format!("/CN={name}");
    tool("openssl", &[&new[..], &["-subj", &common_name, "-keyout", &ca_key, "-out", &ca]].concat());
    let by = ["-CA", &ca, "-CAkey", &ca_key, "-subj", "/CN=server", "-addext", "basicConstraints=CA:FALSE"];
    let subject = format!("subjectAltName={subject}");
    tool("openssl", &[&new[..], &by, &["-addext", &subject, "-keyout", &key, "-out", &cert]].concat());
}
