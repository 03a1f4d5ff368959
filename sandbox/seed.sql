-- The data of the first release: the same on every machine, made by the server from row numbers.
-- Run as the owner of the tables (psql -v password_hash=…), which are there and empty. All users share one password.
\set ON_ERROR_STOP on
SET TimeZone = 'UTC';
BEGIN;

CREATE TEMP TABLE words ON COMMIT DROP AS
SELECT ARRAY['Zürich', '東京', 'São Paulo', 'Київ', 'القاهرة', 'Łódź', 'Reykjavík', 'Ελλάδα', '서울', 'Nairobi',
             'Göteborg', 'Đà Nẵng'] AS city,
       ARRAY['payments', 'orders', 'customers', 'ledger', 'claims', 'inventory', 'patients', 'contracts', 'búsqueda',
             'räkningar', '請求', 'документы'] AS subject,
       ARRAY['read', 'write', 'approve', 'export', 'delete', 'share', 'sign'] AS verb,
       ARRAY['Ada', 'Björn', 'Chloé', 'Dmytro', 'Émilie', 'Fatima', 'Grace', '浩然', 'Íris', 'João', 'Søren', 'Zoë']
         AS first_name,
       ARRAY['O''Neill', 'Müller', 'García', 'Nowak', 'Þórsdóttir', '田中', 'Okafor', 'Smith', 'Šimić', 'd''Arc']
         AS last_name;

INSERT INTO environments (name, description, settings, created_at)
SELECT name, description, settings::json, timestamptz '2024-01-15 08:00:00+00'
FROM (VALUES
  (1, 'development', 'For trying things out', '{"tier": 3, "motto": "move fast, naïvely"}'),
  (2, 'staging', E'Like production,\nwith fewer people', '{"tier": 2, "regions": ["eu-north-1"]}'),
  (3, 'production', 'The real thing: 本番', '{"tier": 1, "regions": ["eu-north-1", "ap-northeast-1"], "contact": "Ω-team"}'),
  (4, 'legacy', NULL, NULL)) AS e (n, name, description, settings)
ORDER BY n;

INSERT INTO users (username, email, full_name, password_hash, role, is_active, force_password_change, preferences,
                   last_login, created_at)
SELECT CASE i WHEN 1 THEN 'admin' WHEN 2 THEN 'operator' ELSE 'user' || lpad(i::text, 4, '0') END,
       CASE i WHEN 1 THEN 'admin' WHEN 2 THEN 'operator' ELSE 'user' || i END || '@pap.example',
       CASE WHEN i % 97 = 0 THEN NULL ELSE first_name[1 + i % 12] || ' ' || last_name[1 + i * 7 % 10] END,
       :'password_hash',
       CASE WHEN i = 1 THEN 'admin' WHEN i % 10 = 0 THEN 'editor' ELSE 'viewer' END,
       i % 50 <> 49,
       i % 40 = 39,
       CASE WHEN i % 3 = 0 THEN NULL
            ELSE json_build_object('language', (ARRAY['en', 'de', 'ja', 'uk', 'ar'])[1 + i % 5],
                                   'city', city[1 + i % 12], 'rows', 10 * (1 + i % 5)) END,
       CASE WHEN i % 4 = 0 THEN NULL ELSE timestamptz '2025-06-01 06:00:00+00' - i * interval '37 minutes' END,
       timestamptz '2024-02-01 09:00:00+00' + i * interval '3 hours'
FROM words, generate_series(1, 3000) AS i;

INSERT INTO user_sessions (user_id, token_id, ip_address, user_agent, created_at, expires_at)
SELECT 1 + i * 11 % 3000, md5('session ' || i),
       CASE WHEN i % 5 = 0 THEN '2001:db8::' || to_hex(i) ELSE '192.0.2.' || i % 250 END,
       CASE WHEN i % 7 = 0 THEN NULL ELSE 'Mozilla/5.0 (' || city[1 + i % 12] || ')' END,
       began, began + interval '1 hour'
FROM words, generate_series(1, 1500) AS i, LATERAL (SELECT timestamptz '2025-05-01 00:00:00+00' + i * interval '29 minutes') AS s (began);

INSERT INTO peps (name, environment_id, url, status, configuration, created_at)
SELECT 'pep-' || lpad(i::text, 3, '0') || ' ' || city[1 + i % 12], 1 + i % 4,
       CASE WHEN i % 20 = 0 THEN NULL ELSE 'https://pep' || i || '.gateway.example:8443/enforce?zone=' || i % 9 END,
       CASE WHEN i % 15 = 0 THEN 'inactive' ELSE 'active' END,
       json_build_object('cache_seconds', i % 60, 'labels', json_build_array(subject[1 + i % 12], city[1 + i * 5 % 12]),
                         'tls', json_build_object('verify', i % 8 <> 0, 'san', NULL)),
       timestamptz '2024-03-01 00:00:00+00' + i * interval '1 day'
FROM words, generate_series(1, 300) AS i;

INSERT INTO protected_resources (name, resource_type, url, description, attributes, created_at, updated_at)
SELECT subject[1 + i % 12] || '/' || lpad(i::text, 4, '0'),
       (ARRAY['api', 'table', 'bucket', 'report', 'queue'])[1 + i % 5],
       CASE WHEN i % 5 = 1 THEN NULL ELSE 'https://api.example/' || i || '/%C3%A9tat?q=' || city[1 + i % 12] END,
       CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN ''
            ELSE 'Holds the ' || subject[1 + i % 12] || ' of ' || city[1 + i * 5 % 12] || E' — “sensitive”,\n\tback\\slash' END,
       CASE WHEN i % 6 = 0 THEN NULL
            ELSE json_build_object('owner', first_name[1 + i % 12], 'rows', i::bigint * 1000003, 'ratio', i / 7.0,
                                   'tags', json_build_array('pii', subject[1 + i * 3 % 12], NULL, '🔒')) END,
       timestamptz '2024-04-01 00:00:00+00' + i * interval '1 hour',
       timestamptz '2025-01-01 00:00:00+00' + i * interval '11 minutes'
FROM words, generate_series(1, 4000) AS i;

INSERT INTO policies (name, version, description, effect, priority, conditions, is_active, resource_id, created_by,
                      created_at, updated_at)
SELECT verb[1 + i % 7] || ' ' || subject[1 + i % 12] || ' #' || (i + 1) / 2, 1 + (i + 1) % 2,
       CASE WHEN i % 3 = 0 THEN NULL ELSE 'Who may ' || verb[1 + i % 7] || ' in ' || city[1 + i % 12] END,
       (CASE WHEN i % 3 = 0 THEN 'deny' ELSE 'allow' END)::policy_effect,
       i * 13 % 1001,
       json_build_object('role', (ARRAY['viewer', 'editor', 'admin'])[1 + i % 3],
                         'time', json_build_object('from', '08:00', 'to', '18:00', 'zone', 'Europe/Zürich'),
                         'ip', json_build_array('10.' || i % 256 || '.0.0/16'), 'unless', NULL,
                         'note', CASE WHEN i % 100 = 0 THEN repeat('说明 ', 400) ELSE 'n/a' END),
       i % 9 <> 0,
       CASE WHEN i % 10 = 0 THEN NULL ELSE 1 + i * 7 % 4000 END,
       CASE WHEN i % 8 = 0 THEN NULL ELSE 1 + i * 3 % 3000 END,
       timestamptz '2024-05-01 00:00:00+00' + i * interval '50 minutes',
       timestamptz '2025-02-01 00:00:00+00' + i * interval '17 minutes'
FROM words, generate_series(1, 5000) AS i;

INSERT INTO audit_logs (occurred_at, user_id, action, entity, entity_id, outcome, details)
SELECT timestamptz '2025-01-01 00:00:00+00' + i * interval '4 minutes',
       CASE WHEN i % 30 = 0 THEN NULL ELSE 1 + i * 17 % 3000 END,
       (ARRAY['auth.login', 'policies.update', 'policies.create', 'protected_resources.update', 'peps.sync'])[1 + i % 5],
       (ARRAY['user', 'policies', 'policies', 'protected_resources', 'peps'])[1 + i % 5],
       (1 + i * 31 % 4000)::text,
       CASE WHEN i % 25 = 0 THEN 'failure' ELSE 'success' END,
       json_build_object('client', '192.0.2.' || i % 250, 'city', city[1 + i % 12], 'request', md5(i::text))
FROM words, generate_series(1, 50000) AS i;

COMMIT;
