// Kafka's own share consumer on the tasks of the share benchmarks: as many members as asked for, each on a thread of its
// own as the class demands, explicit acknowledgements. Prints a line when the warm-up is over, and its figures at the end.

import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class ShareWorker {
    private static final Duration WAIT = Duration.ofMillis(500);

    private final Map<String, String> environment = System.getenv();
    private final long warmUp = number("WARM_UP");
    private final long total = warmUp + number("RECORDS");
    private final int concurrency = (int) number("CONCURRENCY");
    private final AtomicLong accepted = new AtomicLong();
    private final AtomicLong begun = new AtomicLong(Long.MAX_VALUE);
    private final AtomicLong ended = new AtomicLong();
    private final long[] delays = new long[(int) total + 1];
    private final long[] latencies = new long[(int) total + 1];
    private final AtomicInteger delayed = new AtomicInteger();

    private long number(String name) {
        return Long.parseLong(environment.get("SHARE_" + name));
    }

    private KafkaShareConsumer<byte[], byte[]> member() {
        var properties = new Properties();
        properties.put("bootstrap.servers", environment.get("SHARE_SERVERS"));
        properties.put("group.id", environment.get("SHARE_GROUP"));
        properties.put("max.poll.records", environment.get("SHARE_PREFETCH"));
        properties.put("share.acknowledgement.mode", "explicit");
        properties.put("share.acquire.mode", environment.get("SHARE_MODE"));
        var bytes = new ByteArrayDeserializer();
        var consumer = new KafkaShareConsumer<>(properties, bytes, bytes);
        consumer.subscribe(List.of(environment.get("SHARE_TOPIC")));
        return consumer;
    }

    private void trivial() {
        try (var consumer = member()) {
            while (accepted.get() < total) {
                var records = consumer.poll(WAIT);
                for (var record : records) {
                    consumer.acknowledge(record, AcknowledgeType.ACCEPT);
                }
                consumer.commitAsync();
                count(records.count());
            }
            consumer.commitSync();
        }
    }

    private void count(int records) {
        if (records == 0) {
            return;
        }
        begun.accumulateAndGet(System.nanoTime(), Math::min);
        ended.accumulateAndGet(System.nanoTime(), Math::max);
        var after = accepted.addAndGet(records);
        if (after >= warmUp && after - records < warmUp) {
            begun.set(System.nanoTime());
            System.out.println("begin");
            System.out.flush();
        }
    }

    private record Ended(ConsumerRecord<byte[], byte[]> task) {}

    private void slow(ExecutorService workers) {
        var ended = new LinkedBlockingQueue<Ended>();
        try (var consumer = member()) {
            while (accepted.get() < total) {
                var records = consumer.poll(WAIT);
                var fetched = System.nanoTime();
                if (records.count() > 0) {
                    begun.accumulateAndGet(fetched, Math::min);
                }
                for (var record : records) {
                    workers.execute(() -> work(record, fetched, ended));
                }
                settle(consumer, ended, records.count());
            }
            consumer.commitSync();
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    // Each as soon as it has ended; the next poll is not allowed before all have.
    private void settle(KafkaShareConsumer<byte[], byte[]> consumer, LinkedBlockingQueue<Ended> ended, int count)
        throws InterruptedException {
        var some = new ArrayList<Ended>();
        for (var left = count; left > 0; left -= some.size()) {
            some.clear();
            some.add(ended.take());
            ended.drainTo(some);
            some.forEach(one -> consumer.acknowledge(one.task(), AcknowledgeType.ACCEPT));
            consumer.commitAsync();
            this.ended.accumulateAndGet(System.nanoTime(), Math::max);
            accepted.addAndGet(some.size());
        }
    }

    private void work(ConsumerRecord<byte[], byte[]> task, long fetched, LinkedBlockingQueue<Ended> ended) {
        var told = new String(task.value()).trim().split(" +");
        var at = delayed.getAndIncrement();
        if (at < delays.length) {
            delays[at] = System.nanoTime() - fetched;
            latencies[at] = told.length < 2 ? 0 : (micros() - Long.parseLong(told[1])) * 1000;
        }
        try {
            Thread.sleep(Long.parseLong(told[0]));
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
        ended.add(new Ended(task));
    }

    private static long micros() {
        return ChronoUnit.MICROS.between(Instant.EPOCH, Instant.now());
    }

    // Of those after the warm-up, in milliseconds.
    private double quantile(long[] all, double part) {
        var from = (int) Math.min(warmUp, all.length);
        var count = Math.min(delayed.get(), all.length) - from;
        if (concurrency == 0 || count <= 0) {
            return 0;
        }
        var measured = Arrays.copyOfRange(all, from, from + count);
        Arrays.sort(measured);
        return measured[(int) ((count - 1) * part)] / 1e6;
    }

    private void run() throws InterruptedException, IOException {
        var workers = concurrency > 0 ? Executors.newFixedThreadPool(concurrency) : null;
        if (workers != null) {
            System.out.println("begin");
            System.out.flush();
        }
        var members = new ArrayList<Thread>();
        for (var member = 0; member < number("MEMBERS"); member++) {
            members.add(new Thread(workers == null ? this::trivial : () -> slow(workers)));
        }
        members.forEach(Thread::start);
        for (var member : members) {
            member.join();
        }
        var seconds = (ended.get() - begun.get()) / 1e9;
        if (workers != null) {
            workers.shutdown();
        }
        System.out.printf("{\"accepted\":%d,\"seconds\":%f,\"start_delay_p50_ms\":%f,\"start_delay_p99_ms\":%f,",
            accepted.get(), seconds, quantile(delays, 0.5), quantile(delays, 0.99));
        System.out.printf("\"latency_p50_ms\":%f,\"latency_p99_ms\":%f}%n",
            quantile(latencies, 0.5), quantile(latencies, 0.99));
        // Until the benchmark has looked at what this process has used.
        System.in.read();
    }

    public static void main(String[] arguments) throws InterruptedException, IOException {
        new ShareWorker().run();
    }
}
