-- The large columns stay as they are, so the change event does not hold them.
\set product random(1, 1000)
\set cents random(100, 99999)
UPDATE products SET price = :cents / 100.0, attributes = attributes || jsonb_build_object('cents', (:cents)::integer)
    WHERE sku = sku(:product);
