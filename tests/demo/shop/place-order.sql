\set customer random(1, 4000)
\set product random(1, 1000)
BEGIN;
INSERT INTO orders (customer_id, total) VALUES (9007199254740992 + :customer, :product * 1.10) RETURNING id \gset
INSERT INTO order_lines SELECT :id, line, sku((:product + line) % 1000 + 1), line FROM generate_series(1, 3) AS line;
UPDATE products SET stock = stock - 1 WHERE sku = sku(:product);
COMMIT;
