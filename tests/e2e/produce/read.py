"""Prints every committed record of a topic's partition 0 as Python's client sees it: read.py <bootstrap servers> <topic>."""

import sys

from confluent_kafka import Consumer, KafkaError, TopicPartition

servers, topic = sys.argv[1:]
consumer = Consumer(
    {
        "bootstrap.servers": servers,
        "group.id": topic + "-python",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    }
)
consumer.assign([TopicPartition(topic, 0, 0)])


def text(data):
    return "None" if data is None else "x" + data.hex()


while True:
    record = consumer.poll(30)
    if record is None:
        sys.exit("nothing came within 30 s")
    if record.error():
        if record.error().code() == KafkaError._PARTITION_EOF:
            break
        sys.exit(str(record.error()))
    headers = ";".join(f"{text(name.encode())}={text(value)}" for name, value in record.headers() or [])
    print(record.offset(), text(record.key()), text(record.value()), f"[{headers}]")
consumer.close()
