//! TLS and SASL settings that cannot work, told before anything is contacted.
//!
//! librdkafka accepts most of them and then tries for ever, so that they would look like a broker that is away.

use super::kafka::last_of;
use super::{Secret, Variables};

const PROTOCOLS: [&str; 4] = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
const PASSWORD_MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
const MECHANISM: [&str; 2] = ["sasl.mechanism", "sasl.mechanisms"];

/// The PEM files: librdkafka's property and our variable.
const FILES: [(&str, Option<&str>); 4] = [
    ("ssl.ca.location", Some("KAFKA_SSL_CA_LOCATION")),
    ("ssl.certificate.location", Some("KAFKA_SSL_CERTIFICATE_LOCATION")),
    ("ssl.key.location", Some("KAFKA_SSL_KEY_LOCATION")),
    ("ssl.crl.location", None),
];

/// Notes what cannot work; returns the protocol in lower case.
pub(super) fn check_security(variables: &mut Variables, properties: &[(String, Secret)]) -> String {
    let given = |name: &str| last_of(properties, &[name]).map(Secret::expose).filter(|value| !value.is_empty());
    let protocol = given("security.protocol").unwrap_or_default().to_ascii_lowercase();
    if !PROTOCOLS.contains(&protocol.as_str()) {
        let names = PROTOCOLS.join(", ").to_ascii_uppercase();
        variables.mistake(format!("KAFKA_SECURITY_PROTOCOL (security.protocol) is `{protocol}`: give one of {names}"));
        return protocol;
    }
    let credentials = [
        ("KAFKA_SASL_USERNAME (sasl.username)", given("sasl.username")),
        ("KAFKA_SASL_PASSWORD (sasl.password)", given("sasl.password")),
    ];
    if protocol.starts_with("sasl") {
        let mechanism = last_of(properties, &MECHANISM).map(Secret::expose).unwrap_or_default();
        let has_own_tokens = given("enable.sasl.oauthbearer.unsecure.jwt") == Some("true");
        check_mechanism(variables, mechanism, &credentials, has_own_tokens);
    } else {
        for (name, _) in credentials.iter().filter(|(_, value)| value.is_some()) {
            variables.mistake(format!(
                "{name} is set, but with KAFKA_SECURITY_PROTOCOL={} it would not be used: give SASL_SSL or SASL_PLAINTEXT, \
                 or unset it",
                protocol.to_ascii_uppercase()
            ));
        }
    }
    if protocol.ends_with("ssl") {
        check_files(variables, given);
    }
    protocol
}

fn check_mechanism(
    variables: &mut Variables,
    mechanism: &str,
    credentials: &[(&str, Option<&str>)],
    has_own_tokens: bool,
) {
    let name = "KAFKA_SASL_MECHANISM (sasl.mechanism)";
    let choice = PASSWORD_MECHANISMS.join(", ");
    match mechanism {
        "" => variables.mistake(format!("{name} is not set, which a SASL protocol needs: give one of {choice}")),
        "GSSAPI" => {
            variables.mistake(format!("{name} is GSSAPI, Kerberos, which is not built into evp: give one of {choice}"))
        }
        "OAUTHBEARER" if !has_own_tokens => {
            variables.mistake(format!("{name} is OAUTHBEARER, for which evp fetches no tokens: give one of {choice}"))
        }
        "OAUTHBEARER" => {}
        known if PASSWORD_MECHANISMS.contains(&known) => {
            for (missing, _) in credentials.iter().filter(|(_, value)| value.is_none()) {
                variables.mistake(format!("{missing} is not set, which {known} needs"));
            }
        }
        other => variables.mistake(format!("{name} is `{other}`: give one of {choice}")),
    }
}

fn check_files<'a>(variables: &mut Variables, given: impl Fn(&str) -> Option<&'a str>) {
    for (property, variable) in FILES {
        let Some(path) = given(property) else { continue };
        let name = variable.map_or_else(|| property.to_owned(), |variable| format!("{variable} ({property})"));
        let is_searched = property == "ssl.ca.location" && (path == "probe" || std::path::Path::new(path).is_dir());
        match std::fs::read(path) {
            _ if is_searched => {}
            Ok(bytes) if memchr::memmem::find(&bytes, b"-----BEGIN ").is_some() => {}
            Ok(_) => {
                variables.mistake(format!("{name} names `{path}`, which holds nothing in PEM form (-----BEGIN …)"))
            }
            Err(error) => variables.mistake(format!("{name} names `{path}`, which cannot be read: {error}")),
        }
    }
    let pair = ["ssl.certificate.location", "ssl.key.location"].map(|name| given(name).is_some());
    let has_other_form =
        ["ssl.certificate.pem", "ssl.key.pem", "ssl.keystore.location"].map(given).iter().any(Option::is_some);
    if pair == [true, false] && !has_other_form {
        variables.mistake(
            "KAFKA_SSL_CERTIFICATE_LOCATION is set without KAFKA_SSL_KEY_LOCATION: give both or none".to_owned(),
        );
    }
    if pair == [false, true] && !has_other_form {
        variables.mistake(
            "KAFKA_SSL_KEY_LOCATION is set without KAFKA_SSL_CERTIFICATE_LOCATION: give both or none".to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KafkaConfig;

    /// The lines of the one error, each with what it names.
    fn mistakes(pairs: &[(&str, &str)], extra: &[&str]) -> Vec<String> {
        let mut variables = Variables::of(pairs);
        let extra: Vec<String> = extra.iter().map(|pair| (*pair).to_owned()).collect();
        KafkaConfig::from_variables(&mut variables, &extra);
        let said = variables.finish().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(!said.contains("hunter2"), "{said}");
        said.lines().map(str::to_owned).collect()
    }

    fn assert_names(said: &[String], names: &[&str]) {
        assert_eq!(said.len(), names.len(), "{said:?}");
        assert!(said.iter().zip(names).all(|(line, name)| line.contains(name)), "{said:?} should name {names:?}");
    }

    const SASL: (&str, &str) = ("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT");
    const USER: (&str, &str) = ("KAFKA_SASL_USERNAME", "evp");
    const PASSWORD: (&str, &str) = ("KAFKA_SASL_PASSWORD", "hunter2");

    #[test]
    fn sasl_needs_a_mechanism_that_is_there_and_its_credentials() {
        let mechanism = |name| ("KAFKA_SASL_MECHANISM", name);
        assert_names(&mistakes(&[SASL, USER, PASSWORD], &[]), &["KAFKA_SASL_MECHANISM"]);
        assert_names(&mistakes(&[SASL, mechanism("PLAIN")], &[]), &["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"]);
        assert_names(&mistakes(&[SASL, mechanism("GSSAPI")], &[]), &["Kerberos"]);
        assert_names(&mistakes(&[SASL, mechanism("OAUTHBEARER")], &[]), &["tokens"]);
        assert_names(&mistakes(&[SASL, USER, PASSWORD, mechanism("plian")], &[]), &["`plian`"]);
        assert_names(&mistakes(&[SASL, USER, PASSWORD, mechanism("SCRAM-SHA-512")], &[]), &[]);
    }

    #[test]
    fn a_property_of_the_flag_counts_like_its_variable() {
        let sasl = ["security.protocol=sasl_plaintext", "sasl.mechanisms=PLAIN", "sasl.username=evp"];
        assert_names(&mistakes(&[PASSWORD], &sasl), &[]);
        assert_names(&mistakes(&[], &sasl), &["KAFKA_SASL_PASSWORD"]);
        assert_names(
            &mistakes(&[SASL, USER, PASSWORD, ("KAFKA_SASL_MECHANISM", "PLAIN")], &["sasl.mechanisms=X"]),
            &["`X`"],
        );
        assert_names(&mistakes(&[], &["security.protocol=tls"]), &["`tls`"]);
    }

    #[test]
    fn credentials_that_would_not_be_used_are_a_mistake() {
        assert_names(&mistakes(&[USER, PASSWORD], &[]), &["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"]);
        assert_names(&mistakes(&[("KAFKA_SECURITY_PROTOCOL", "SSL"), PASSWORD], &[]), &["KAFKA_SASL_PASSWORD"]);
    }

    #[test]
    fn files_are_looked_at_where_tls_is_used() {
        let ssl = ("KAFKA_SECURITY_PROTOCOL", "SSL");
        let missing = ("KAFKA_SSL_CA_LOCATION", "/nonexistent/ca.pem");
        assert_names(&mistakes(&[ssl, missing], &[]), &["KAFKA_SSL_CA_LOCATION"]);
        assert_names(&mistakes(&[missing], &[]), &[]);
        assert_names(&mistakes(&[ssl], &["ssl.ca.location=/nonexistent/ca.pem"]), &["ssl.ca.location"]);
        assert_names(&mistakes(&[ssl], &["ssl.ca.location=/dev/null"]), &["PEM"]);
        assert_names(&mistakes(&[ssl], &["ssl.ca.location=/"]), &[]);
        let key = mistakes(&[ssl, ("KAFKA_SSL_KEY_LOCATION", "/nonexistent/key.pem")], &[]);
        assert_names(&key, &["/nonexistent/key.pem", "KAFKA_SSL_CERTIFICATE_LOCATION"]);
    }

    #[test]
    fn the_mechanisms_are_those_of_the_librdkafka_that_is_built_in() {
        let features = rdkafka::ClientConfig::new().create_native_config().unwrap().get("builtin.features").unwrap();
        let has = |feature: &str| features.split(',').any(|known| known == feature);
        assert!(has("ssl") && has("sasl_plain") && has("sasl_scram") && !has("gssapi"), "{features}");
    }
}
