-- An event gets its id here if the application gives none. Only the table of the first migration, known by its comment, and
-- only by its owner: one that was adopted stays as it is.

DO $$
BEGIN
    -- Readers that stay for long would hold up this statement, and every writer behind it.
    PERFORM set_config('lock_timeout', '5s', true);
    IF EXISTS (
        SELECT FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
        WHERE c.oid = to_regclass('activity.event_outbox')
          AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
          AND pg_catalog.obj_description(c.oid, 'pg_class') LIKE 'Domain events, written in the transaction that caused them%'
          AND a.attname = 'event_id' AND a.atttypid = 'uuid'::regtype AND NOT a.atthasdef AND NOT a.attisdropped
    ) THEN
        ALTER TABLE activity.event_outbox ALTER COLUMN event_id SET DEFAULT gen_random_uuid();
    END IF;
END
$$;
