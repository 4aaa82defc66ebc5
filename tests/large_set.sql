-- A workspace of a size at which a wrong plan hurts: 300,000 messages, 600,000 reactions, 20,000 people, 5,000
-- channels. tests/large_set.py names the people and places that tests speak of.

-- Keys and indexes are dropped here and made anew at the end: kept up row by row they take four times as long.
-- Unlogged, because nobody needs this database after a crash.
SET LOCAL maintenance_work_mem = '256MB';
CREATE TEMPORARY TABLE dropped AS
    SELECT CASE contype WHEN 'f' THEN 3 ELSE 1 END AS step,
        format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS remove,
        format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) AS make
    FROM pg_constraint WHERE contype IN ('f', 'p', 'u') AND connamespace = 'public'::regnamespace
    UNION ALL SELECT 2, format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE relnamespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
    UNION ALL SELECT 0, format('ALTER TABLE %I SET UNLOGGED', tablename), 'SELECT'
    FROM pg_tables WHERE schemaname = 'public';
DO $$
DECLARE statement text;
BEGIN
    FOR statement IN SELECT remove FROM dropped ORDER BY step DESC LOOP EXECUTE statement; END LOOP;
END $$;

-- Every 4,000th is a Quixley.
INSERT INTO users (id, auth0_id, email, name) OVERRIDING SYSTEM VALUE
    SELECT i, 'local|user' || i, 'user' || i || '@example.org',
        (ARRAY['Anna', 'Ben', 'Chandra', 'Dana', 'Emeka', 'Fatima', 'Hana', 'Ivan', 'Juan', 'Kofi', 'Lena', 'Mariana'])
            [1 + i % 12] || ' ' ||
        (ARRAY['Andersen', 'Bauer', 'Cruz', 'Diallo', 'Evans', 'Fischer', 'Garcia', 'Hoffmann', 'Ito', 'Jansen',
            'Kaya', 'Lang', 'Mwangi', 'Novak', 'Okafor', 'Popescu', 'Rossi', 'Santos', 'Tanaka'])[1 + i % 19] ||
        CASE WHEN i % 4000 = 0 THEN ' Quixley' ELSE '' END || ' ' || i
    FROM generate_series(1, 20000) i;

-- 1 to 2,500 are public, up to 4,500 private, the rest direct messages. In the alphabet the private ones stand
-- together, between public ones. One in fifty is archived, one in a hundred deleted.
INSERT INTO channels (id, name, owner_id, creator_id, is_private, is_dm, dm_key, join_code, archived_at, deleted_at)
    OVERRIDING SYSTEM VALUE
    SELECT i,
        CASE WHEN i > 4500 THEN NULL WHEN i > 2500 THEN 'deal-' || i
            ELSE (ARRAY['area', 'help', 'news', 'office', 'project', 'team'])[1 + i % 6] || '-' ||
                (ARRAY['billing', 'design', 'hiring', 'legal', 'mobile', 'search', 'support'])[1 + i / 6 % 7] || '-' ||
                i END || CASE WHEN i % 1000 = 13 THEN '-zeppelin' ELSE '' END,
        CASE WHEN i <= 4500 THEN 1000 + i END, 1000 + i, i > 2500, i > 4500,
        CASE WHEN i > 4500 THEN CASE WHEN i % 10 = 0 THEN 1 || ',' || 1000 + i ELSE 1000 + i || ',' || 10000 + i END
            END,
        CASE WHEN i > 2500 AND i <= 4500 THEN 'code-' || i END,
        CASE WHEN i % 50 = 49 THEN now() END, CASE WHEN i % 100 = 98 THEN now() END
    FROM generate_series(1, 5000) i;

-- Some ten people in each; user 1 in every tenth; 10,000 in channel 1.
INSERT INTO memberships (channel_id, user_id, joined_at)
    SELECT channel_id, user_id, now() - row_number() OVER (ORDER BY user_id DESC, channel_id) * interval '1 second'
    FROM (
        SELECT id AS channel_id, creator_id AS user_id FROM channels
        UNION SELECT id, 1 FROM channels WHERE id % 10 = 0
        UNION SELECT id, 10000 + id FROM channels WHERE is_dm AND id % 10 <> 0
        UNION SELECT id, 1 + (id * 31 + k * 997) % 19000 FROM channels, generate_series(1, 9) k WHERE NOT is_dm
        UNION SELECT 1, i FROM generate_series(11, 10001) i
        UNION SELECT 1, 19999
    ) AS wanted;

-- An admin and two moderators beside the owner; nineteen moderators in channel 1.
INSERT INTO channel_roles (channel_id, user_id, role)
    SELECT id, owner_id, 'OWNER' FROM channels WHERE NOT is_dm
    UNION ALL SELECT channel_id, user_id, CASE WHEN place = 1 THEN 'ADMIN' ELSE 'MODERATOR' END FROM (
        SELECT channel_id, user_id, row_number() OVER (PARTITION BY channel_id ORDER BY user_id) AS place
        FROM memberships JOIN channels ON id = channel_id WHERE NOT is_dm AND user_id <> owner_id
    ) AS ranked WHERE place <= 3 OR (channel_id = 1 AND place <= 20);

-- Of six messages two go to channel 1, three to the next 99, one to the other 4,900. Channel 2 begins with a chain of
-- 1,000 replies, 3 to 12 with one of 100 each; elsewhere every fourth group of six is a message with five replies.
INSERT INTO messages (id, channel_id, seq, author_id, content, created_at, deleted_at, parent_id, chain_id, chain_pos)
    OVERRIDING SYSTEM VALUE
    WITH placed AS (
        SELECT i, CASE WHEN i % 6 < 2 THEN 1 WHEN i % 6 < 5 THEN 2 + i * 7919 % 99 ELSE 101 + i * 104729 % 4900 END
            AS channel_id
        FROM generate_series(1::bigint, 300000) i
    ), counted AS (
        SELECT i, channel_id, row_number() OVER (PARTITION BY channel_id ORDER BY i) - 1 AS place FROM placed
    ), grouped AS (
        SELECT *, CASE
            WHEN channel_id = 2 AND place <= 1000 THEN 0
            WHEN channel_id BETWEEN 3 AND 12 AND place <= 100 THEN 0
            WHEN channel_id NOT BETWEEN 2 AND 12 AND place / 6 % 4 = 0 THEN place / 6
            ELSE 1000000 + place END AS chain
        FROM counted
    ), chained AS (
        SELECT *, row_number() OVER w - 1 AS pos, lag(i) OVER w AS parent_id, first_value(i) OVER w AS top_id
        FROM grouped WINDOW w AS (PARTITION BY channel_id, chain ORDER BY place)
    )
    SELECT i, channel_id, 1 + 2 * place, 1 + i * 7919 % 20000,
        CASE WHEN i % 200 <> 199 THEN 'Message number ' || i || ' with some realistic amount of text in it' END,
        now() - (300000 - i) * interval '1 second', CASE WHEN i % 200 = 199 THEN now() END,
        parent_id, CASE WHEN pos > 0 THEN top_id END, pos
    FROM chained ORDER BY i;

-- Four reactions to every second message, and 5,000 to message 60,000.
INSERT INTO reactions (code, image_url, creator_id)
    SELECT 'custom-' || i, 'https://images.example.org/' || i, i FROM generate_series(1, 2000) i;
INSERT INTO message_reactions (message_id, reaction_id, user_id)
    SELECT m, 1 + (m + k) % 40, 1 + (m * 31 + k * 17) % 20000
    FROM generate_series(2::bigint, 300000, 2) m, generate_series(1, 4) k WHERE m <> 60000
    UNION ALL SELECT 60000, 1, 10000 + i FROM generate_series(1, 5000) i;

-- Every seventh message carries a file, every hundredth of those ten; 1,000 wait in channel 1, and what was deleted.
INSERT INTO files (channel_id, uploader_id, message_id, object_key, name, content_type, size)
    SELECT channel_id, author_id, id, 'object-' || id || '-' || k, 'file ' || k, 'image/png', 1000
    FROM messages, generate_series(1, 10) k WHERE id % 7 = 0 AND deleted_at IS NULL AND (k = 1 OR id % 700 = 0)
    UNION ALL SELECT 1, 1, NULL, 'waiting-' || i, 'file ' || i, 'image/png', 1000 FROM generate_series(1, 1000) i;
INSERT INTO stored_objects (key, remove_after)
    SELECT object_key, CASE WHEN message_id IS NULL THEN now() + interval '1 day' END FROM files
    UNION ALL SELECT 'deleted-' || i, now() FROM generate_series(1, 50) i;

INSERT INTO stream_heads (stream_id, head_seq)
    SELECT 'u' || id, 1 FROM users
    UNION ALL SELECT 'c' || id, coalesce(last_seq, 0) FROM channels
        LEFT JOIN (SELECT channel_id, max(seq) AS last_seq FROM messages GROUP BY channel_id) AS last
        ON channel_id = id;
INSERT INTO stream_events (stream_id, seq, type, actor_id, at, payload)
    SELECT 'c' || channel_id, seq, 'MESSAGE_CREATED', author_id, created_at, jsonb_build_object('message', id)
    FROM messages;

DO $$
DECLARE statement text;
BEGIN
    FOR statement IN SELECT make FROM dropped ORDER BY step LOOP EXECUTE statement; END LOOP;
END $$;
DROP TABLE dropped;
SELECT setval(pg_get_serial_sequence(name, 'id'), 1000000) FROM unnest(ARRAY['users', 'channels', 'messages']) AS name;
