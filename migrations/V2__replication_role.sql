-- The least that `evp capture` needs: a role that may read the log and see the outbox, and nothing else.
-- It has no password: `ALTER ROLE evp_replication PASSWORD '…'`, a certificate or pg_hba.conf decides how it logs in.
-- Making it takes privileges that the owner of the outbox need not have; then a DBA runs the same four statements.

DO $$
BEGIN
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'evp_replication') THEN
            CREATE ROLE evp_replication LOGIN REPLICATION;
        END IF;
    EXCEPTION
        -- Roles belong to the whole cluster, so another database's set-up can have been faster.
        WHEN duplicate_object OR unique_violation THEN NULL;
        WHEN insufficient_privilege THEN
            RAISE NOTICE 'role evp_replication is not made (%): a DBA runs CREATE ROLE evp_replication LOGIN REPLICATION', SQLERRM;
    END;

    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'evp_replication') THEN
        BEGIN
            EXECUTE format('GRANT CONNECT ON DATABASE %I TO evp_replication', current_database());
            GRANT USAGE ON SCHEMA activity TO evp_replication;
            GRANT SELECT ON activity.event_outbox TO evp_replication;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'evp_replication is not granted everything (%): a DBA runs GRANT CONNECT ON DATABASE, GRANT USAGE ON SCHEMA activity, GRANT SELECT ON activity.event_outbox', SQLERRM;
        END;
    END IF;
END
$$;
