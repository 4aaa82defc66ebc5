-- The workspace of benchmarks/execution: 1,000 users, 100 channels, :messages messages spread evenly over them, and
-- four reactions to every second message. Each block is one line of progress.

-- 1,000 users, 100 channels of 120 members (user 1 in all)
INSERT INTO users (id, auth0_id, email, name) OVERRIDING SYSTEM VALUE
    SELECT i, 'local|user' || i, 'user' || i || '@example.org', 'User ' || i FROM generate_series(1, 1000) i;
CREATE TEMPORARY TABLE places ON COMMIT DROP AS
    SELECT c AS channel_id, 2 + (c * 7 + k * 8) % 999 AS user_id, k AS place
    FROM generate_series(1, 100) c, generate_series(0, 118) k;
INSERT INTO channels (id, name, description, owner_id, creator_id) OVERRIDING SYSTEM VALUE
    SELECT channel_id, 'channel-' || channel_id, 'What channel ' || channel_id || ' is about', user_id, user_id
    FROM places WHERE place = 0;
INSERT INTO memberships (channel_id, user_id, joined_at)
    SELECT channel_id, user_id, now() - (1000 - place) * interval '1 minute' FROM places
    UNION ALL SELECT id, 1, now() - interval '1 day' FROM channels;
INSERT INTO channel_roles (channel_id, user_id, role)
    SELECT channel_id, user_id, (ARRAY['OWNER', 'ADMIN', 'MODERATOR', 'MODERATOR'])[1 + place] FROM places WHERE place < 4;

-- :messages messages; channel 2 begins with a reply chain of 100
INSERT INTO messages (id, channel_id, seq, author_id, content, created_at, parent_id, chain_id, chain_pos)
    OVERRIDING SYSTEM VALUE
    SELECT i, 1 + i % 100, (i + 99) / 100, 1 + i * 7919 % 1000,
        'Message number ' || i || ' with some realistic amount of text in it, maybe ninety characters',
        now() - (:messages - i) * interval '1 second', CASE WHEN is_reply THEN i - 100 END,
        CASE WHEN is_reply THEN 1 END, CASE WHEN is_reply THEN i / 100 ELSE 0 END
    FROM (SELECT i, i % 100 = 1 AND i BETWEEN 2 AND 10001 AS is_reply FROM generate_series(1::bigint, :messages) i) each;

-- four reactions to every second message, out of eight; 150 to message 5; a catalogue of more than 100
INSERT INTO reactions (code, image_url, creator_id)
    SELECT 'custom-' || i, 'https://images.example.org/' || i, i FROM generate_series(1, 100) i;
INSERT INTO message_reactions (message_id, reaction_id, user_id)
    SELECT m, 1 + (m + k) % 8, 1 + (m * 31 + k * 17) % 1000
    FROM generate_series(2::bigint, :messages, 2) m, generate_series(1, 4) k
    UNION ALL SELECT 5, 1, i FROM generate_series(1, 150) i;

-- 200 files in channel 1, and of each channel the latest 200 events
INSERT INTO files (channel_id, uploader_id, message_id, object_key, name, content_type, size, width, height)
    SELECT channel_id, author_id, id, 'object-' || id, 'picture ' || id || '.png', 'image/png', 1000 + id, 640, 480
    FROM messages WHERE channel_id = 1 ORDER BY id LIMIT 200;
INSERT INTO stored_objects (key) SELECT object_key FROM files;
INSERT INTO stream_heads (stream_id, head_seq, floor_seq)
    SELECT 'u' || id, 0, 0 FROM users
    UNION ALL SELECT 'c' || id, :messages / 100, :messages / 100 - 200 FROM channels;
INSERT INTO stream_events (stream_id, seq, type, actor_id, at, payload)
    SELECT 'c' || channel_id, seq, 'MESSAGE_CREATED', author_id, created_at, jsonb_build_object('message', id)
    FROM messages WHERE seq > :messages / 100 - 200 ORDER BY id;
SELECT setval(pg_get_serial_sequence(name, 'id'), 1000000) FROM unnest(ARRAY['users', 'channels', 'messages']) AS name;
