// Publishes requests: java -cp 'lib/*' Producer.java FIRST COUNT [urgent]. Needs com.rabbitmq:amqp-client.
import com.rabbitmq.client.*;
import java.nio.charset.StandardCharsets;

class Producer {
    public static void main(String[] arguments) throws Exception {
        int first = Integer.parseInt(arguments[0]), count = Integer.parseInt(arguments[1]);
        String exchange = arguments.length > 2 && arguments[2].equals("urgent") ? "omni.requests.urgent" : "omni.requests";
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(System.getenv("RABBITMQ_URL"));
        try (Connection connection = factory.newConnection(); Channel channel = connection.createChannel()) {
            channel.confirmSelect();
            channel.addReturnListener(returned -> {
                System.err.println("no queue takes requests");
                System.exit(1);
            });
            for (int order = first; order < first + count; order++) {
                String name = "shop-order-" + order; // the same after a crash: a repeat is recognisable
                String request = String.format("""
                    {"requestId": "%s", "messageId": "%s", "phoneNumber": "41793026727", "sms": {"text": "Shipped"}}
                    """, name, name);
                AMQP.BasicProperties properties = new AMQP.BasicProperties.Builder()
                    .messageId(name).contentType("application/json").deliveryMode(2).build(); // 2: persistent
                channel.basicPublish(exchange, "send", true, properties, request.getBytes(StandardCharsets.UTF_8));
                channel.waitForConfirmsOrDie(30_000); // throws unless the broker has stored it
            }
        }
    }
}
