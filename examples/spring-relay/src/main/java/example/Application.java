package example;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Configuration;
import org.springframework.messaging.simp.SimpMessagingTemplate;
import org.springframework.messaging.simp.config.MessageBrokerRegistry;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.socket.config.annotation.EnableWebSocketMessageBroker;
import org.springframework.web.socket.config.annotation.StompEndpointRegistry;
import org.springframework.web.socket.config.annotation.WebSocketMessageBrokerConfigurer;

/** Publishes to rooms and users of a Holdfast fleet as it would to RabbitMQ. */
@SpringBootApplication
@RestController
public class Application {
    private final SimpMessagingTemplate messages;

    Application(SimpMessagingTemplate messages) {
        this.messages = messages;
    }

    public static void main(String[] arguments) {
        SpringApplication.run(Application.class, arguments);
    }

    /** To everybody who has subscribed to /topic/{room}. */
    @PostMapping("/rooms/{room}")
    void room(@PathVariable String room, @RequestBody String body) {
        messages.convertAndSend("/topic/" + room, body);
    }

    /** To one user, at /user/queue/notifications, on whichever node. */
    @PostMapping("/users/{user}")
    void user(@PathVariable String user, @RequestBody String body) {
        messages.convertAndSendToUser(user, "/queue/notifications", body);
    }

    @Configuration
    @EnableWebSocketMessageBroker
    static class Broker implements WebSocketMessageBrokerConfigurer {
        @Value("${relay.host:localhost}")
        private String host;
        @Value("${relay.port:61613}")
        private int port;
        @Value("${relay.passcode}")
        private String passcode;

        @Override
        public void configureMessageBroker(MessageBrokerRegistry registry) {
            registry.enableStompBrokerRelay("/topic", "/queue")
                    .setRelayHost(host).setRelayPort(port)
                    .setSystemLogin("spring").setSystemPasscode(passcode)
                    .setClientLogin("spring").setClientPasscode(passcode)
                    .setUserDestinationBroadcast("/topic/unresolved-user");
            registry.setPreservePublishOrder(true);
        }

        @Override
        public void registerStompEndpoints(StompEndpointRegistry registry) {
            registry.addEndpoint("/unused"); // clients connect to the gateways
        }
    }
}
