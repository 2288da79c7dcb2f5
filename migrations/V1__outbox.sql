-- The outbox. An outbox that exists already is adopted as it is: nothing of it is changed or dropped, no index is built.

DO $$
BEGIN
    -- CREATE SCHEMA IF NOT EXISTS asks for CREATE on the database even where the schema exists.
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'activity') THEN
        CREATE SCHEMA activity;
    END IF;
END
$$;

DO $$
BEGIN
    -- Looked up first, because a role that may not create here can still use the table of its DBA.
    IF to_regclass('activity.event_outbox') IS NULL THEN
        CREATE TABLE activity.event_outbox (
            event_id       uuid        PRIMARY KEY,
            sequence_id    bigserial   NOT NULL,
            aggregate_id   uuid        NOT NULL,
            aggregate_type text        NOT NULL,
            event_type     text        NOT NULL,
            payload        jsonb       NOT NULL,
            status         text        NOT NULL DEFAULT 'pending'
                CONSTRAINT event_outbox_status_check
                CHECK (status IN ('pending', 'processing', 'processed', 'failed')),
            retry_count    integer     NOT NULL DEFAULT 0,
            last_error     text,
            lock_id        uuid,
            created_at     timestamptz NOT NULL DEFAULT now(),
            published_at   timestamptz
        );
        COMMENT ON TABLE activity.event_outbox IS
            'Domain events, written in the transaction that caused them and carried to Kafka from the write-ahead log';

        -- Partial where the question is about a few rows only: the outbox is written far more often than asked.
        CREATE INDEX event_outbox_status_idx
            ON activity.event_outbox (status, sequence_id) WHERE status <> 'processed';
        CREATE INDEX event_outbox_lock_id_idx
            ON activity.event_outbox (lock_id) WHERE lock_id IS NOT NULL;
        CREATE INDEX event_outbox_aggregate_idx
            ON activity.event_outbox (aggregate_id, sequence_id);
        CREATE INDEX event_outbox_event_type_idx
            ON activity.event_outbox (event_type);
        CREATE INDEX event_outbox_created_at_idx
            ON activity.event_outbox (created_at);
        CREATE INDEX event_outbox_sequence_id_idx
            ON activity.event_outbox (sequence_id);
    END IF;
END
$$;
