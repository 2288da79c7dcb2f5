//! What Kafka's errors mean for evp: wait, give up after a few tries, or halt.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind};

/// The class of an error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CodeClass {
    /// The network, a broker or a coordinator is in motion; the same request will be answered later.
    Transient,
    /// The credentials are refused.
    Credentials,
    /// The principal lacks a privilege.
    Denied,
    /// The topic does not exist.
    MissingTopic,
    /// The broker or its message format is too old for an idempotent producer.
    Unsupported,
    /// None of these.
    Unknown,
}

/// Sorts a code of librdkafka's own, which are negative, or of the broker.
pub(super) fn classify(code: Code) -> CodeClass {
    match code {
        Code::BrokerDestroy
        | Code::BrokerTransportFailure
        | Code::Resolve
        | Code::MessageTimedOut
        | Code::AllBrokersDown
        | Code::OperationTimedOut
        | Code::QueueFull
        | Code::ISRInsufficient
        | Code::NodeUpdate
        | Code::SSL
        | Code::WaitingForCoordinator
        | Code::InProgress
        | Code::PreviousInProgress
        | Code::State
        | Code::Outdated
        | Code::TimedOutQueue
        | Code::WaitCache
        | Code::Interrupted
        | Code::Partial
        | Code::Retry
        | Code::PurgeQueue
        | Code::PurgeInflight
        | Code::GaplessGuarantee
        | Code::UnknownBroker
        | Code::DestroyBroker
        | Code::AssignmentLost
        | Code::InvalidMessage
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::RequestTimedOut
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::StaleControllerEpoch
        | Code::NetworkException
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::RebalanceInProgress
        | Code::NotController
        | Code::OutOfOrderSequenceNumber
        | Code::InvalidProducerEpoch
        | Code::ConcurrentTransactions
        | Code::KafkaStorageError
        | Code::UnknownProducerId
        | Code::ReassignmentInProgress
        | Code::FetchSessionIdNotFound
        | Code::InvalidFetchSessionEpoch
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::StaleBrokerEpoch
        | Code::OffsetNotAvailable
        | Code::MemberIdRequired
        | Code::PreferredLeaderNotAvailable
        | Code::EligibleLeadersNotAvailable
        | Code::UnstableOffsetCommit
        | Code::ThrottlingQuotaExceeded
        | Code::UnknownTopicId
        | Code::FencedMemberEpoch
        | Code::StaleMemberEpoch
        // What librdkafka says of a partition without a leader: its broker is away or starts.
        | Code::UnknownPartition
        | Code::RebootstrapRequired => CodeClass::Transient,
        Code::SaslAuthenticationFailed | Code::Authentication => CodeClass::Credentials,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => CodeClass::Denied,
        Code::UnknownTopicOrPartition | Code::UnknownTopic => CodeClass::MissingTopic,
        Code::UnsupportedVersion
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedFeature
        | Code::UnsupportedSASLMechanism => CodeClass::Unsupported,
        _ => CodeClass::Unknown,
    }
}

/// The name and number of a code, as Kafka's documentation has them.
pub(super) fn named(code: Code) -> String {
    format!("{code:?} ({})", code as i32)
}

/// The error of a client call, with its kind and the remedy.
pub(crate) fn client_error(what: &str, config: &KafkaConfig, error: KafkaError) -> Error {
    if let KafkaError::ClientConfig(_, description, name, _) = &error {
        return Error::configuration(format!("the Kafka property `{name}` is refused: {description}"));
    }
    // Before anything is sent: two properties that do not go together, or a file that is not what it should be.
    if let KafkaError::ClientCreation(reason) = &error {
        return Error::configuration(format!(
            "{what}: the Kafka client cannot be made with these properties: {reason}"
        ));
    }
    let code = error.rdkafka_error_code();
    let (kind, message) = explained(what, &config.bootstrap_servers, code);
    Error::with_source(kind, message, error)
}

fn explained(what: &str, servers: &str, code: Option<Code>) -> (ErrorKind, String) {
    let class = code.map_or(CodeClass::Unknown, classify);
    match (class, code) {
        (CodeClass::Credentials, _) => (
            ErrorKind::Denied,
            format!(
                "{what}: Kafka at {servers} refuses the credentials; check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
            ),
        ),
        (CodeClass::Denied, _) => (
            ErrorKind::Denied,
            format!("{what}: Kafka at {servers} denies access; grant the principal its topics and group"),
        ),
        (CodeClass::MissingTopic, _) => {
            (ErrorKind::Missing, format!("{what}: the topic does not exist; run `evp init`"))
        }
        (CodeClass::Unsupported, Some(code)) => (
            ErrorKind::Unsupported,
            format!("{what}: Kafka at {servers} answers {}; evp needs Kafka 2.1 or newer", named(code)),
        ),
        (CodeClass::Transient, Some(Code::SSL)) => (
            ErrorKind::Unavailable,
            format!(
                "{what}: TLS with Kafka at {servers} fails; check KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CA_LOCATION"
            ),
        ),
        (CodeClass::Transient, _) => (
            ErrorKind::Unavailable,
            format!("{what}: Kafka at {servers} does not answer; check KAFKA_BOOTSTRAP_SERVERS and the broker"),
        ),
        (CodeClass::Unknown, Some(code)) => (
            ErrorKind::Unknown,
            format!("{what}: Kafka at {servers} answers {}; see the broker's log for the reason", named(code)),
        ),
        (CodeClass::Unknown | CodeClass::Unsupported, None) => {
            (ErrorKind::Unknown, format!("{what}: the Kafka client fails at {servers}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Variables;

    fn told(code: Code) -> Error {
        let config = KafkaConfig::from_variables(&mut Variables::of(&[]), &[]);
        client_error("writing", &config, KafkaError::MessageProduction(code))
    }

    #[test]
    fn what_time_heals_is_waited_for_and_an_unknown_code_keeps_its_name() {
        assert_eq!(told(Code::NotLeaderForPartition).kind(), ErrorKind::Unavailable);
        assert_eq!(told(Code::UnknownPartition).kind(), ErrorKind::Unavailable);
        assert_eq!(told(Code::SaslAuthenticationFailed).kind(), ErrorKind::Denied);
        assert_eq!(told(Code::UnknownTopicOrPartition).kind(), ErrorKind::Missing);
        let unknown = told(Code::PolicyViolation);
        assert_eq!(unknown.kind(), ErrorKind::Unknown);
        assert!(unknown.message().contains("PolicyViolation (44)"), "{unknown}");
        assert!(!unknown.message().contains("does not answer"), "{unknown}");
    }
}
