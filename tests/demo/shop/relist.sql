-- Gone and back under the same key within one transaction; and the large columns change.
\set product random(1, 1000)
WITH gone AS (DELETE FROM products WHERE sku = sku(:product) RETURNING *)
    INSERT INTO products SELECT sku, title, price, stock, attributes, prose(3), photo FROM gone;
