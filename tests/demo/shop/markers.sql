-- After the load: changes in every partition of every table. Once they are seen, all before them has arrived in Kafka.
BEGIN;
UPDATE customers SET points = points + 1 WHERE id <= 9007199254740992 + 100;
UPDATE products SET stock = stock + 1 WHERE sku IN (SELECT sku(n) FROM generate_series(1, 100) AS n);
WITH placed AS (INSERT INTO orders (customer_id, status) SELECT 9007199254740992 + n, 'marker'
                FROM generate_series(1, 100) AS n RETURNING id)
    INSERT INTO order_lines SELECT id, 1, 'marker', 1 FROM placed;
COMMIT;
